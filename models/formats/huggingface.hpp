#pragma once

/// Models as Hugging Face's transformers keeps them: a folder with `config.json`, `model.safetensors` and the
/// tokenizer's files. GPT2LMHeadModel and LlamaForCausalLM are spoken, by file formats alone.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "models/data/tokenizer.hpp"
#include "models/transformer.hpp"
#include "runtime/checkpoint/store.hpp"

namespace troupe {

/// A model with its values, apart from any training.
struct pretrained {
  transformer_settings settings;
  std::vector<named_tensor> parameters;      ///< of the settings' parameter space, in layout order, float32
  std::shared_ptr<const tokenizer> tokens;   ///< null where there is none, or none that we can represent
};

/// The values that a cut holds for these settings. Throws input_error where one is missing or has another shape.
std::vector<named_tensor> parameters_of(const cut& from, const transformer_settings& settings);

/// Writes the folder; files that it names are replaced. `type` (float32, bfloat16 or float16) is that of the tensors
/// written. Throws input_error where neither class computes such a model, naming the setting; system_error.
///
/// What these classes always have and the model has not (biases) is written as zeros, which computes the same.
/// Tokenizers: bytes and characters become a tokenizer.json for PreTrainedTokenizerFast, sentencepiece a
/// tokenizer.model for LlamaTokenizer; AutoTokenizer finds either.
void export_huggingface(const pretrained& what, const std::filesystem::path& folder, dtype type = dtype::float32);

/// Reads such a folder: float32, float16 or bfloat16 tensors, in one file or several with an index. Throws input_error
/// for what is missing or malformed and for whatever would compute something else than its class does.
///
/// A tokenizer is read where it is one of ours or a sentencepiece model; where it is another, `note` says so.
pretrained import_huggingface(const std::filesystem::path& folder, std::string* note = nullptr);

}  // namespace troupe
