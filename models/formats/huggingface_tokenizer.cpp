#include "models/formats/huggingface_tokenizer.hpp"

#include <fstream>

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include "models/data/sentencepiece_tokenizer.hpp"
#include "models/data/utf8.hpp"
#include "models/formats/json_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* tokenizers_file = "tokenizer.json";    // of the tokenizers library
constexpr const char* sentencepiece_file = "tokenizer.model";
constexpr const char* end_of_text = "<|endoftext|>";

/// How GPT-2 writes bytes in a vocabulary: those that print stand for themselves, the others for code points from
/// 256 on.
std::string printable(int byte) {
  const auto prints = [](int b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
  int value = byte;
  if (!prints(byte)) {
    value = 256;
    for (int b = 0; b < byte; ++b)
      value += !prints(b);
  }
  std::string out;
  utf8::append(out, static_cast<char32_t>(value));
  return out;
}

ordered_json tokenizer_json(ordered_json model, ordered_json pre_tokenizer, ordered_json decoder) {
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", ordered_json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", std::move(pre_tokenizer)},
          {"post_processor", nullptr},
          {"decoder", std::move(decoder)},
          {"model", std::move(model)}};
}

/// Byte pairs without any pair.
ordered_json bytes_json() {
  ordered_json vocabulary;
  for (int byte = 0; byte < 256; ++byte)
    vocabulary[printable(byte)] = byte;
  const ordered_json byte_level{
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
  auto out = tokenizer_json({{"type", "BPE"},
                             {"dropout", nullptr},
                             {"unk_token", nullptr},
                             {"continuing_subword_prefix", nullptr},
                             {"end_of_word_suffix", nullptr},
                             {"fuse_unk", false},
                             {"vocab", std::move(vocabulary)},
                             {"merges", ordered_json::array()}},
                            byte_level, byte_level);
  out["added_tokens"].push_back({{"id", 256},
                                 {"content", end_of_text},
                                 {"single_word", false},
                                 {"lstrip", false},
                                 {"rstrip", false},
                                 {"normalized", false},
                                 {"special", true}});
  return out;
}

/// Words of one character each.
ordered_json characters_json(std::string_view alphabet) {
  auto vocabulary = ordered_json::object();
  for (std::size_t at = 0; at < alphabet.size();) {
    const auto size = utf8::decode(alphabet, at)->size_bytes;
    const auto id = vocabulary.size();
    vocabulary[std::string(alphabet.substr(at, size))] = id;
    at += size;
  }
  return tokenizer_json({{"type", "WordLevel"}, {"vocab", std::move(vocabulary)}, {"unk_token", "<unk>"}},
                        {{"type", "Split"},
                         {"pattern", {{"Regex", "[\\s\\S]"}}},
                         {"behavior", "Isolated"},
                         {"invert", false}},
                        {{"type", "Fuse"}});
}

void write_bytes(const fs::path& file, const std::string& bytes) {
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  if (!out.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush())
    throw system_error(fmt::format("{}: cannot be written", file.string()));
}

/// For LlamaTokenizer, the class that hands text to sentencepiece as it is.
ordered_json sentencepiece_config(const std::string& model) {
  sentencepiece::SentencePieceProcessor processor;
  if (const auto status = processor.LoadFromSerializedProto(model); !status.ok())
    throw input_error(fmt::format("this is no sentencepiece model: {}", status.error_message()));
  const auto unknown = processor.IdToPiece(processor.unk_id());
  const auto end = processor.eos_id() < 0 ? unknown : processor.IdToPiece(processor.eos_id());
  // Without a beginning of its own, the end's token: a name that the model has not would become a new token.
  const auto begin = processor.bos_id() < 0 ? end : processor.IdToPiece(processor.bos_id());
  return {{"tokenizer_class", "LlamaTokenizer"},
          {"unk_token", unknown},
          {"bos_token", begin},
          {"eos_token", end},
          {"add_bos_token", false},
          {"add_eos_token", false},
          {"add_prefix_space", false},
          {"legacy", true}};
}

}  // namespace

void write_huggingface_tokenizer(const tokenizer& tokens, std::int64_t context, const fs::path& folder) {
  ordered_json config;
  if (tokens.kind() == "sentencepiece") {
    const auto model = tokens.serialize();
    config = sentencepiece_config(model);
    write_bytes(folder / sentencepiece_file, model);
    fs::remove(folder / tokenizers_file);
  } else {
    const bool is_bytes = tokens.kind() == "bytes";
    config["tokenizer_class"] = "PreTrainedTokenizerFast";
    if (is_bytes)
      config["eos_token"] = end_of_text;
    write_json_file(folder / tokenizers_file, is_bytes ? bytes_json() : characters_json(tokens.serialize()));
    fs::remove(folder / sentencepiece_file);
  }
  config["clean_up_tokenization_spaces"] = false;
  config["model_max_length"] = context;
  write_json_file(folder / "tokenizer_config.json", config);
}

std::shared_ptr<const tokenizer> read_huggingface_tokenizer(const fs::path& folder, std::string& note) {
  if (const auto file = folder / sentencepiece_file; fs::exists(file))
    return load_sentencepiece_file(file.string());
  const auto file = folder / tokenizers_file;
  if (!fs::exists(file)) {
    note = fmt::format("{}: neither {} nor {} is there; the model comes without a tokenizer", folder.string(),
                       sentencepiece_file, tokenizers_file);
    return nullptr;
  }
  // Ours are recognised by being what we would write.
  const auto found = read_json_file(file);
  if (found == nlohmann::json(bytes_json()))
    return make_byte_tokenizer();
  const auto model = found.find("model");
  if (model != found.end() && model->is_object() && model->value("type", nlohmann::json()) == "WordLevel" &&
      model->contains("vocab") && (*model)["vocab"].is_object() && !(*model)["vocab"].empty()) {
    std::string alphabet;
    for (const auto& [word, id] : (*model)["vocab"].items())
      alphabet += word;
    if (found == nlohmann::json(characters_json(make_character_tokenizer(alphabet)->serialize())))
      return make_character_tokenizer(alphabet);
  }
  note = fmt::format("{}: tokenizers of this kind are not supported; the model comes without a tokenizer",
                     file.string());
  return nullptr;
}

}  // namespace troupe
