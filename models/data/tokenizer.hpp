#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/error.hpp"

namespace troupe {

struct tokenizer_settings {
  enum class kind : std::uint8_t { bytes, characters, sentencepiece, byte_pairs };
  kind algorithm = kind::characters;
  /// sentencepiece: a model file to load; empty: train one on the corpus. byte_pairs: a tokenizer.json.
  std::string model;
  std::int64_t vocabulary = 1024;  ///< sentencepiece: pieces of a trained model

  bool reads_model() const noexcept { return algorithm == kind::sentencepiece || algorithm == kind::byte_pairs; }
};

/// What a tokenizer cannot represent, and where in the text that is. what() says both, for a text that stands in no file.
class text_error : public input_error {
 public:
  /// `found`: what is there, and what was expected.
  text_error(std::string_view text, std::size_t at, std::string found);

  std::size_t at() const noexcept { return at_; }
  const std::string& found() const noexcept { return found_; }

 private:
  std::size_t at_;
  std::string found_;
};

/// Throws text_error where not all of the text is UTF-8.
void require_utf8(std::string_view text);

/// Text to tokens and back. Immutable; thread safe.
class tokenizer {
 public:
  virtual ~tokenizer() = default;
  virtual std::string kind() const = 0;
  /// Number of tokens; ids are 0 .. size() - 1.
  virtual std::int64_t size() const noexcept = 0;
  /// Throws text_error where the text holds what the tokenizer cannot represent.
  virtual std::vector<std::int32_t> encode(std::string_view text) const = 0;
  /// Unknown or partial sequences become U+FFFD.
  virtual std::string decode(const std::vector<std::int32_t>& tokens) const = 0;
  /// The token that separates documents; -1 where there is none.
  virtual std::int32_t end_of_document() const noexcept = 0;
  /// A self-contained text or binary form, kept in checkpoints; the same tokenizer gives the same bytes.
  virtual std::string serialize() const = 0;
};

/// The reverse of `kind` and `serialize`. Throws input_error for a kind or bytes that no tokenizer has written.
std::shared_ptr<const tokenizer> deserialize_tokenizer(std::string_view kind, std::string_view bytes);

/// Kind "bytes": a token is a byte; 256 ends a document, and has no text. Represents everything.
std::shared_ptr<const tokenizer> make_byte_tokenizer();

/// Kind "characters": a token is one of the given code points, numbered in their order as nanoGPT does.
/// `alphabet` is UTF-8; its order and repetitions do not matter. Documents are separated by newlines.
std::shared_ptr<const tokenizer> make_character_tokenizer(std::string_view alphabet);

}  // namespace troupe
