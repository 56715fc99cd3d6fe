#pragma once

/// A small tokenizer.json of byte pairs, in GPT-2's form.

#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "models/data/byte_level.hpp"

namespace troupe {

/// The bytes are tokens 0 to 255, what the merges make comes after them, and `<|endoftext|>` is the last.
inline nlohmann::json byte_pairs(const std::vector<std::pair<std::string, std::string>>& merges) {
  auto vocabulary = nlohmann::json::object(), listed = nlohmann::json::array();
  for (int b = 0; b < 256; ++b)
    vocabulary[byte_level(std::string(1, static_cast<char>(b)))] = b;
  for (const auto& [left, right] : merges) {
    vocabulary.emplace(byte_level(left + right), vocabulary.size());
    listed.push_back(byte_level(left) + " " + byte_level(right));
  }
  const auto end = vocabulary.size();
  auto made = tokenizer_json(byte_pairs_json(std::move(vocabulary), std::move(listed)), byte_level_json(true),
                             byte_level_json(true));
  made["added_tokens"].push_back(special_token_json(static_cast<std::int64_t>(end), end_of_text));
  return made;
}

/// "the" 257, " the" 258, "  " 259, "ab" 260, "abab" 261; 262 ends documents.
inline nlohmann::json some_byte_pairs() {
  return byte_pairs({{"h", "e"}, {"t", "he"}, {" ", "the"}, {" ", " "}, {"a", "b"}, {"ab", "ab"}});
}

}  // namespace troupe
