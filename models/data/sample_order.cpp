#include "models/data/sample_order.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <numeric>

#include "runtime/splitmix.hpp"

namespace troupe {

namespace {

/// What the seed is used for: the same seed elsewhere draws other values.
constexpr std::uint64_t order_domain = 0x6f72'6465'72;  // "order"

std::uint64_t word64(const random_key& key, std::uint64_t index) noexcept {
  const philox_block block = random_block(key, index);
  return block[0] | std::uint64_t{block[1]} << 32;
}

std::uint64_t multiply_high(std::uint64_t a, std::uint64_t b) noexcept {
  return static_cast<std::uint64_t>(static_cast<unsigned __int128>(a) * b >> 64);
}

/// Uniform in 0 .. bound - 1, but for a bias of less than bound / 2^64.
std::uint64_t below(std::uint64_t bound, const random_key& key, std::uint64_t index) noexcept {
  return multiply_high(word64(key, index), bound);
}

}  // namespace

permutation::permutation(std::uint64_t size, const random_key& key) noexcept : size_(size) {
  assert(size > 0 && size <= std::uint64_t{1} << 62);
  half_bits_ = std::max(1, (static_cast<int>(std::bit_width(size - 1)) + 1) / 2);
  for (std::size_t round = 0; round < rounds; ++round)
    keys_[round] = word64(key, round);
}

std::uint64_t permutation::operator()(std::uint64_t index) const noexcept {
  assert(index < size_);
  do
    index = encipher(index);
  while (index >= size_);
  return index;
}

std::uint64_t permutation::encipher(std::uint64_t value) const noexcept {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = value >> half_bits_, right = value & mask;
  for (const std::uint64_t key : keys_) {
    const std::uint64_t next = left ^ (mix_bits(right + key) & mask);
    left = right;
    right = next;
  }
  return left << half_bits_ | right;
}

namespace sample_order {

std::int64_t windows(std::int64_t tokens, std::int64_t context) noexcept {
  assert(context > 0 && tokens > context);
  return std::max<std::int64_t>(1, tokens / context - 1);
}

std::int64_t without_replacement(std::int64_t tokens, std::int64_t context, std::uint64_t seed,
                                 std::uint64_t index) noexcept {
  const auto count = static_cast<std::uint64_t>(windows(tokens, context));
  const random_key key = random_key{seed, order_domain}.fold(index / count);
  const auto room = static_cast<std::uint64_t>(tokens - static_cast<std::int64_t>(count) * context);
  const std::uint64_t offset = below(room, key.fold(0), 0);
  const permutation shuffled(count, key.fold(1));
  return static_cast<std::int64_t>(offset + shuffled(index % count) * static_cast<std::uint64_t>(context));
}

std::int64_t with_replacement(std::int64_t tokens, std::int64_t context, std::uint64_t seed,
                              std::uint64_t index) noexcept {
  assert(context > 0 && tokens > context);
  return static_cast<std::int64_t>(
    below(static_cast<std::uint64_t>(tokens - context), random_key{seed, order_domain}, index));
}

std::int64_t evaluation_windows(std::int64_t tokens, std::int64_t context) noexcept {
  assert(context > 0 && tokens > context);
  return (tokens - 1) / context;
}

std::int64_t evaluation(std::int64_t tokens, std::int64_t context, std::uint64_t index) noexcept {
  const auto count = static_cast<std::uint64_t>(evaluation_windows(tokens, context));
  // 2^64 / golden ratio; the nearest step that shares no factor with the count visits every window.
  std::uint64_t step = std::max<std::uint64_t>(1, multiply_high(count, 0x9e37'79b9'7f4a'7c15));
  while (std::gcd(step, count) != 1)
    ++step;
  const auto window = static_cast<std::uint64_t>(static_cast<unsigned __int128>(index % count) * step % count);
  return static_cast<std::int64_t>(window) * context;
}

}  // namespace sample_order

}  // namespace troupe
