#pragma once

/// Randomness without state: Philox 4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel Random Numbers: As Easy
/// as 1, 2, 3", doi:10.1145/2063384.2063405). A value is a pure function of (key, index), so it does not depend on
/// the order or the thread in which values are drawn.
///
/// Element i draws word i % 4 of block i / 4; every device keeps to that.

#include <array>
#include <bit>
#include <cassert>
#include <cstdint>

#include "runtime/tensor/dtype.hpp"

namespace troupe {

using philox_block = std::array<std::uint32_t, 4>;
using philox_key = std::array<std::uint32_t, 2>;

/// Philox 4x32 in ten rounds: enciphers the counter under the key.
constexpr philox_block philox(philox_block counter, philox_key key) noexcept {
  for (int round = 0; round < 10; ++round) {
    const auto product0 = std::uint64_t{0xD2511F53} * counter[0];
    const auto product1 = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// Names one sequence of random values: `high` is Philox's key and `low` the upper half of its counter;
/// the lower half is the index of a block in the sequence.
struct random_key {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  /// A key that differs for each (this key, word): fold in lane, step, layer in turn.
  constexpr random_key fold(std::uint64_t word) const noexcept;

  friend constexpr bool operator==(const random_key&, const random_key&) noexcept = default;
};

/// Block `index` of the key's sequence.
constexpr philox_block random_block(const random_key& key, std::uint64_t index) noexcept {
  return philox({static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                 static_cast<std::uint32_t>(key.low), static_cast<std::uint32_t>(key.low >> 32)},
                {static_cast<std::uint32_t>(key.high), static_cast<std::uint32_t>(key.high >> 32)});
}

/// The word that element `index` draws. Loops over many elements take whole blocks instead.
constexpr std::uint32_t random_word(const random_key& key, std::uint64_t index) noexcept {
  return random_block(key, index / 4)[index % 4];
}

constexpr random_key random_key::fold(std::uint64_t word) const noexcept {
  // Another Philox key than the one values are drawn under, so that no value is ever also a key.
  constexpr std::uint64_t folding = 0x5bf0'3635'dee1'c9ab;
  const philox_block block = random_block({high ^ folding, low}, word);
  return {block[0] | std::uint64_t{block[1]} << 32, block[2] | std::uint64_t{block[3]} << 32};
}

/// Uniform in [0, 1): a multiple of 2^-24, so exact in float32.
constexpr float uniform(std::uint32_t word) noexcept {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

/// Dropout drops the elements whose word is below this. An integer, so that all devices drop the same ones.
constexpr std::uint32_t dropout_threshold(double probability) noexcept {
  assert(probability >= 0.0 && probability < 1.0);
  return static_cast<std::uint32_t>(probability * 0x1p32);
}

/// Stochastic rounding: to one of the two neighbours in bfloat16, to the nearer one the more likely the nearer it is, so
/// that the mean over words is the value. Infinities and NaN as bfloat16's own conversion.
constexpr bfloat16 round_stochastic(float value, std::uint32_t word) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  bfloat16 rounded(value);
  if ((bits & 0x7f800000) != 0x7f800000)
    rounded.bits = static_cast<std::uint16_t>((bits + (word >> 16)) >> 16);
  return rounded;
}

/// Four standard normal values from a block, by Box and Muller's transform (1958). The same bits on every machine:
/// it calls nothing of the C library that may round differently elsewhere.
std::array<float, 4> normals(const philox_block& words) noexcept;

}  // namespace troupe
