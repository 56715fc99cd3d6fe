#include "models/data/tokenizer.hpp"
#include "models/data/utf8.hpp"
#include "tests/fuzz/fuzz.hpp"

// The bytes are an alphabet, as a checkpoint keeps it, and then a text.

std::vector<std::string> troupe::fuzz::seeds() {
  return {"abc", "\n !?aZ", "h\xC3\xA9llo \xE2\x82\xAC \xF0\x9F\x8E\xAD", "\x01\x7F\xC2\x80\xED\x9F\xBF"};
}

void troupe::fuzz::read(std::string_view bytes) {
  const auto tokens = deserialize_tokenizer("characters", bytes);
  const std::string text = tokens->decode(tokens->encode(bytes));
  if (text != bytes)
    throw std::logic_error("text does not come back");
  if (deserialize_tokenizer("characters", tokens->serialize())->serialize() != tokens->serialize())
    throw std::logic_error("the tokenizer does not come back");
}
