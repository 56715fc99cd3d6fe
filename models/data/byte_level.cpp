#include "models/data/byte_level.hpp"

#include <array>

#include "models/data/utf8.hpp"

namespace troupe {

using nlohmann::json;

namespace {

/// The code point that stands for each byte.
const std::array<char32_t, 256>& code_points() {
  static const auto table = [] {
    std::array<char32_t, 256> made{};
    char32_t next = 256;
    for (char32_t b = 0; b < 256; ++b) {
      const bool prints = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      made[b] = prints ? b : next++;
    }
    return made;
  }();
  return table;
}

}  // namespace

std::string byte_level(std::string_view bytes) {
  std::string text;
  for (const char c : bytes)
    utf8::append(text, code_points()[static_cast<unsigned char>(c)]);
  return text;
}

std::optional<std::string> bytes_of(std::string_view text) {
  static const auto bytes = [] {
    std::array<int, 256 + 68> made;  // 68 bytes do not print
    made.fill(-1);
    for (int b = 0; b < 256; ++b)
      made[code_points()[static_cast<std::size_t>(b)]] = b;
    return made;
  }();
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const auto c = utf8::decode(text, at);
    if (!c || c->value >= bytes.size() || bytes[c->value] < 0)
      return std::nullopt;
    out += static_cast<char>(bytes[c->value]);
    at += c->size_bytes;
  }
  return out;
}

json tokenizer_json(json model, json pre_tokenizer, json decoder) {
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", std::move(pre_tokenizer)},
          {"post_processor", nullptr},
          {"decoder", std::move(decoder)},
          {"model", std::move(model)}};
}

json byte_level_json(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", use_regex}};
}

json byte_pairs_json(json vocabulary, json merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"vocab", std::move(vocabulary)},
          {"merges", std::move(merges)}};
}

json special_token_json(std::int64_t id, std::string_view content) {
  return {{"id", id},
          {"content", content},
          {"single_word", false},
          {"lstrip", false},
          {"rstrip", false},
          {"normalized", false},
          {"special", true}};
}

}  // namespace troupe
