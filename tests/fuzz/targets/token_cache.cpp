#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "models/data/token_cache.hpp"
#include "runtime/error.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace troupe;

constexpr digest key{1, 2};
constexpr std::size_t header_bytes = 128, body_checksum_at = 88, self_checksum_at = 112;

std::string written(const tokenizer& tokens, std::string_view text) {
  const auto path = fuzz::scratch_folder() / "seed";
  token_cache_writer out(path, key, tokens);
  out.append(tokens.encode(text));
  out.publish();
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The same bytes with right checksums, so that what stands behind them is reached.
std::string sealed(std::string bytes) {
  if (bytes.size() < header_bytes)
    return bytes;
  const digest body = content_hash().add_raw(bytes.data() + header_bytes, bytes.size() - header_bytes).value();
  std::memcpy(bytes.data() + body_checksum_at, &body, sizeof body);
  const digest self = content_hash().add(std::string_view(bytes).substr(0, self_checksum_at)).value();
  std::memcpy(bytes.data() + self_checksum_at, &self, sizeof self);
  return bytes;
}

void read_tokens(std::string_view bytes) {
  const tokenized_corpus corpus = read_token_cache(fuzz::scratch_file(bytes), key);
  std::vector<std::int32_t> all(static_cast<std::size_t>(corpus.stream.size()));
  corpus.stream.read(0, all);
  for (const std::int32_t token : all)
    if (token < 0 || token >= corpus.tokens->size())
      throw std::logic_error("a token outside the vocabulary");
  corpus.tokens->decode(all);
}

}  // namespace

std::vector<std::string> fuzz::seeds() {
  return {written(*make_byte_tokenizer(), "some text"), written(*make_character_tokenizer("abc\n"), "a\nbc"),
          written(*make_byte_tokenizer(), "")};
}

void fuzz::read(std::string_view bytes) {
  try {
    read_tokens(bytes);
  } catch (const input_error&) {
    read_tokens(sealed(std::string(bytes)));
  }
}
