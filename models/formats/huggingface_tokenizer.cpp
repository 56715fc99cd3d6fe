#include "models/formats/huggingface_tokenizer.hpp"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include "models/data/byte_level.hpp"
#include "models/data/byte_pair_tokenizer.hpp"
#include "models/data/sentencepiece_tokenizer.hpp"
#include "models/data/utf8.hpp"
#include "models/json_file.hpp"
#include "models/whole_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr const char* tokenizers_file = "tokenizer.json";    // of the tokenizers library
constexpr const char* sentencepiece_file = "tokenizer.model";

/// Byte pairs without any pair.
json bytes_json() {
  json vocabulary;
  for (int byte = 0; byte < 256; ++byte)
    vocabulary[byte_level(std::string(1, static_cast<char>(byte)))] = byte;
  auto out = tokenizer_json(byte_pairs_json(std::move(vocabulary), json::array()), byte_level_json(false),
                            byte_level_json(false));
  out["added_tokens"].push_back(special_token_json(256, end_of_text));
  return out;
}

/// Words of one character each.
json characters_json(std::string_view alphabet) {
  auto vocabulary = json::object();
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
    write_whole_file(folder / sentencepiece_file, model);
    fs::remove(folder / tokenizers_file);
  } else {
    const auto file = tokens.kind() == "bytes"        ? bytes_json()
                      : tokens.kind() == "characters" ? characters_json(tokens.serialize())
                                                      : json::parse(tokens.serialize());
    config["tokenizer_class"] = "PreTrainedTokenizerFast";
    for (const auto& special : file["added_tokens"])
      if (special["id"] == tokens.end_of_document())
        config["eos_token"] = special["content"];
    write_whole_file(folder / tokenizers_file, file.dump(2) + "\n");
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
  if (found == bytes_json())
    return make_byte_tokenizer();
  const auto model = found.find("model");
  if (model != found.end() && model->is_object() && model->value("type", json()) == "WordLevel" &&
      model->contains("vocab") && (*model)["vocab"].is_object() && !(*model)["vocab"].empty()) {
    std::string alphabet;
    for (const auto& [word, id] : (*model)["vocab"].items())
      alphabet += word;
    if (found == characters_json(make_character_tokenizer(alphabet)->serialize()))
      return make_character_tokenizer(alphabet);
  }
  try {
    return load_byte_pairs_file(file.string());
  } catch (const input_error& fault) {
    note = fmt::format("{}; the model comes without a tokenizer", fault.what());
    return nullptr;
  }
}

}  // namespace troupe
