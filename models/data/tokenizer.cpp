#include "models/data/tokenizer.hpp"

#include <fmt/format.h>

#include "models/data/byte_pair_tokenizer.hpp"
#include "models/data/sentencepiece_tokenizer.hpp"
#include "models/data/utf8.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

std::string in_words(const utf8::position& where, const std::string& found) {
  return fmt::format("line {}, column {} of the text: {}", where.line, where.column, found);
}

}  // namespace

text_error::text_error(std::string_view text, std::size_t at, std::string found)
    : input_error(in_words(utf8::position_of(text, at), found)), at_(at), found_(std::move(found)) {}

void require_utf8(std::string_view text) {
  if (const std::size_t bad = utf8::first_invalid(text); bad < text.size())
    throw text_error(text, bad, fmt::format("found the byte 0x{:02X}, expected UTF-8", static_cast<unsigned char>(text[bad])));
}

std::shared_ptr<const tokenizer> deserialize_tokenizer(std::string_view kind, std::string_view bytes) {
  if (kind == "bytes") {
    if (!bytes.empty())
      throw input_error(fmt::format("the byte tokenizer has no contents, but {} bytes were found", bytes.size()));
    return make_byte_tokenizer();
  }
  if (kind == "characters")
    return make_character_tokenizer(bytes);
  if (kind == "sentencepiece")
    return load_sentencepiece(bytes);
  if (kind == "byte_pairs")
    return load_byte_pairs(bytes);
  throw input_error(fmt::format(
    "unknown kind of tokenizer '{}'; known are 'bytes', 'characters', 'sentencepiece' and 'byte_pairs'", kind));
}

}  // namespace troupe
