#include <fstream>
#include <iterator>
#include <stdexcept>

#include "models/data/byte_pair_tokenizer.hpp"
#include "models/formats/huggingface_tokenizer.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/models/byte_pairs.hpp"

// The bytes are a tokenizer.json.

std::vector<std::string> troupe::fuzz::seeds() {
  std::vector<std::string> out;
  for (const auto& tokens : {make_byte_tokenizer(), make_character_tokenizer("ab\n\"\\\xe2\x82\xac"),
                            load_byte_pairs(some_byte_pairs().dump())}) {
    write_huggingface_tokenizer(*tokens, 8, scratch_folder());
    std::ifstream in(scratch_folder() / "tokenizer.json", std::ios::binary);
    out.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return out;
}

void troupe::fuzz::read(std::string_view bytes) {
  scratch_file(bytes, "tokenizer.json");
  std::string note;
  const auto tokens = read_huggingface_tokenizer(scratch_folder(), note);
  if (!tokens)
    return;
  // Characters know only their alphabet; bytes and byte pairs, whatever their merges and their pattern, every text.
  const std::string text = tokens->kind() == "characters" ? "ab\n" : "abab  the\r\n\n 1234 h\xC3\xA9's \xF0\x9F\x8E\xAD ";
  if (tokens->decode(tokens->encode(text)) != text)
    throw std::logic_error("text does not come back");
}
