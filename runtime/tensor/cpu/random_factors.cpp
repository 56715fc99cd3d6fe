#include "runtime/tensor/cpu/random_factors.hpp"

#include <cassert>
#include <cstring>

#include "runtime/tensor/cpu/simd.hpp"
#include "runtime/tensor/random.hpp"

namespace troupe::cpu {

namespace {

/// Philox of sixteen consecutive blocks from `first` on, whose words stand in order in out[64]: as
/// `random_block`, lane by lane.
void sixteen_blocks(const random_key& key, std::uint64_t first, std::uint32_t* out) noexcept {
  std::uint32_t words[4][lanes];
  for (int lane = 0; lane < lanes; ++lane) {
    words[0][lane] = static_cast<std::uint32_t>(first + static_cast<std::uint64_t>(lane));
    words[1][lane] = static_cast<std::uint32_t>((first + static_cast<std::uint64_t>(lane)) >> 32);
    words[2][lane] = static_cast<std::uint32_t>(key.low);
    words[3][lane] = static_cast<std::uint32_t>(key.low >> 32);
  }
  auto key0 = static_cast<std::uint32_t>(key.high), key1 = static_cast<std::uint32_t>(key.high >> 32);
  for (int round = 0; round < 10; ++round) {
#pragma omp simd
    for (int lane = 0; lane < lanes; ++lane) {
      const auto product0 = std::uint64_t{0xD2511F53} * words[0][lane];
      const auto product1 = std::uint64_t{0xCD9E8D57} * words[2][lane];
      words[0][lane] = static_cast<std::uint32_t>(product1 >> 32) ^ words[1][lane] ^ key0;
      words[1][lane] = static_cast<std::uint32_t>(product1);
      words[2][lane] = static_cast<std::uint32_t>(product0 >> 32) ^ words[3][lane] ^ key1;
      words[3][lane] = static_cast<std::uint32_t>(product0);
    }
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  for (int lane = 0; lane < lanes; ++lane)
    for (int word = 0; word < 4; ++word)
      out[lane * 4 + word] = words[word][lane];
}

}  // namespace

random_factors::random_factors(const dropout_options& options) noexcept
    : key_(options.key),
      threshold_(dropout_threshold(options.probability)),
      survivor_(static_cast<float>(1.0 / (1.0 - options.probability))) {}

void random_factors::draw(std::uint64_t first, std::int64_t count, float* out) const noexcept {
  assert(count <= run);
  constexpr std::int64_t batch = 4 * lanes;
  alignas(64) std::uint32_t words[run + 2 * batch];
  const auto skipped = static_cast<std::int64_t>(first % 4);
  for (std::int64_t i = 0; i < skipped + count; i += batch)
    sixteen_blocks(key_, first / 4 + static_cast<std::uint64_t>(i / 4), words + i);
  for (std::int64_t i = 0; i < count; ++i)
    out[i] = words[skipped + i] < threshold_ ? 0.0f : survivor_;
}

}  // namespace troupe::cpu
