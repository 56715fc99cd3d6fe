#include <cstdint>
#include <stdexcept>

#include "models/data/sentencepiece_tokenizer.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

/// A field of a Protocol Buffers message that has a length; below 128 a number is one byte.
std::string field(int number, const std::string& bytes) {
  std::string out{static_cast<char>(number << 3 | 2)};
  std::size_t size = bytes.size();
  for (; size > 127; size >>= 7)
    out += static_cast<char>(size | 0x80);
  return out + static_cast<char>(size) + bytes;
}

std::string number(int field, int value) {
  return {static_cast<char>(field << 3), static_cast<char>(value)};
}

/// Type 1 is an ordinary piece, 2 the unknown, 3 a control piece, 4 defined by the user, 6 a byte.
std::string piece(const std::string& text, int type = 1) {
  return field(1, field(1, text) + std::string("\x15\x00\x00\x80\xBF", 5) + number(3, type));
}

/// A table that normalises "A" to "a": the root's children stand at 256 ^ label, the leaf beside its node.
std::string normalization_table() {
  std::uint32_t units[512] = {};
  units[0] = 256 << 10;
  units[256 ^ 'A'] = 'A' | 1 << 8 | 1 << 10;
  units[256 ^ 'A' ^ 1] = std::uint32_t{1} << 31;
  const std::uint32_t size = sizeof units;
  std::string table(reinterpret_cast<const char*>(&size), sizeof size);
  table.append(reinterpret_cast<const char*>(units), sizeof units);
  return table + std::string("a\0", 2);
}

std::string pieces() {
  return piece("<unk>", 2) + piece("</s>", 3) + piece("\xE2\x96\x81") + piece("a") + piece("b") + piece("ab") +
         piece("abab") + piece("xyz", 4);
}

constexpr int unigram = 1, bpe = 2, word = 3, character = 4;

std::string trained(int model) {
  return field(2, number(3, model));
}

}  // namespace

std::vector<std::string> troupe::fuzz::seeds() {
  std::string bytes;
  for (int b = 0; b < 256; ++b) {
    const char* digits = "0123456789ABCDEF";
    bytes += piece(std::string("<0x") + digits[b / 16] + digits[b % 16] + ">", 6);
  }
  const std::string byte_fallback("\x98\x02\x01", 3);  // field 35 of the trainer's settings
  const std::string normalizer = field(2, normalization_table()) + number(3, 1) + number(4, 1);
  return {
    pieces() + trained(unigram),
    pieces() + trained(bpe),
    pieces() + trained(word),
    pieces() + trained(character),
    pieces() + trained(unigram) + field(3, normalizer),
    pieces() + trained(bpe) + field(3, normalizer) + field(5, normalizer),
    pieces() + bytes + field(2, number(3, bpe) + byte_fallback) + field(3, number(3, 0) + number(4, 0)),
  };
}

void troupe::fuzz::read(std::string_view bytes) {
  const auto tokens = load_sentencepiece(bytes);
  for (const std::string text : {"", "abab A xyz", "  a\n\xC3\xA9 \xF0\x9F\x8E\xAD", "AAAA\tAb"}) {
    const auto ids = tokens->encode(text);
    for (const std::int32_t id : ids)
      if (id < 0 || id >= tokens->size())
        throw std::logic_error("a token outside the vocabulary");
    tokens->decode(ids);
  }
  tokens->decode({0, 1, 2, 1 << 20, -1, static_cast<std::int32_t>(tokens->size()) - 1});
  if (tokens->end_of_document() >= tokens->size())
    throw std::logic_error("the end of a document is outside the vocabulary");
}
