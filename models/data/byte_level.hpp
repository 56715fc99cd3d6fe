#pragma once

/// The form of tokenizer.json of Hugging Face's tokenizers library, as far as tokenizers here are written in it.

#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace troupe {

inline constexpr const char* end_of_text = "<|endoftext|>";  ///< how GPT-2 calls the token between documents

/// How GPT-2 writes bytes in a vocabulary (`bytes_to_unicode` in its encoder.py): those that print stand for
/// themselves, the others for code points from 256 on. One code point for each byte, in UTF-8.
std::string byte_level(std::string_view bytes);

/// The reverse; nothing where `text` holds what stands for no byte.
std::optional<std::string> bytes_of(std::string_view text);

/// A whole tokenizer.json, without added tokens.
nlohmann::json tokenizer_json(nlohmann::json model, nlohmann::json pre_tokenizer, nlohmann::json decoder);
/// A tokenizer.json's ByteLevel part, whose own pattern for words it applies or not.
nlohmann::json byte_level_json(bool use_regex);
/// Its model of byte pairs.
nlohmann::json byte_pairs_json(nlohmann::json vocabulary, nlohmann::json merges);
/// One of its special tokens.
nlohmann::json special_token_json(std::int64_t id, std::string_view content);

}  // namespace troupe
