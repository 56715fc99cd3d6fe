#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "models/formats/huggingface_names.hpp"
#include "models/transformer.hpp"
#include "runtime/tensor/dtype.hpp"

namespace troupe {

struct huggingface_config {
  huggingface_family family = huggingface_family::gpt2;
  transformer_settings settings;  ///< resolved
};

/// The class that computes such a model. Throws input_error naming the setting that neither has.
huggingface_family family_of(const transformer_settings& settings);

/// `config.json`. `end_token` is the tokenizer's, -1 for none.
nlohmann::ordered_json write_huggingface_config(const transformer_settings& settings, std::int32_t end_token,
                                                dtype type);

/// The reverse, from outside: throws input_error naming `source` and the key. Sizes are within bounds that make sense.
huggingface_config read_huggingface_config(const nlohmann::json& config, const std::string& source);

}  // namespace troupe
