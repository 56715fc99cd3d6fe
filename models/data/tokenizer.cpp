#include "models/data/tokenizer.hpp"

#include <fmt/format.h>

#include "models/data/byte_pair_tokenizer.hpp"
#include "models/data/sentencepiece_tokenizer.hpp"
#include "runtime/error.hpp"

namespace troupe {

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
