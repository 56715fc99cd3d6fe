#include <cstdint>
#include <stdexcept>

#include "models/data/token_shards.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

/// llm.c's format, or nanoGPT's where there is no magic.
std::string shard(std::int32_t magic, std::int32_t version, std::size_t token_bytes, std::int32_t count) {
  std::string bytes;
  const auto put = [&](std::uint32_t value, std::size_t size) {
    bytes.append(reinterpret_cast<const char*>(&value), size);
  };
  if (magic != 0) {
    for (const std::int32_t field : {magic, version, count})
      put(static_cast<std::uint32_t>(field), 4);
    bytes.resize(1024);
  }
  for (std::int32_t i = 0; i < count; ++i)
    put(static_cast<std::uint32_t>(i * 977), token_bytes);
  return bytes;
}

}  // namespace

std::vector<std::string> troupe::fuzz::seeds() {
  return {shard(20240520, 1, 2, 30), shard(20240801, 7, 4, 30), shard(0, 0, 2, 700)};
}

void troupe::fuzz::read(std::string_view bytes) {
  const token_shards shards = open_token_shards(scratch_file(bytes, "shard.bin").string());
  std::vector<std::int32_t> all(static_cast<std::size_t>(shards.train.size()));
  shards.train.read(0, all);
  if (all.size() * 2 > bytes.size() || shards.train.largest() < 0)
    throw std::logic_error("tokens from nowhere");
}
