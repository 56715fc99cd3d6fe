#pragma once

/// Which piece of the corpus sample number `index` is: pure functions, so that any actor on any node can compute any
/// sample and nothing about data order needs saving.

#include <array>
#include <cstdint>

#include "runtime/tensor/random.hpp"

namespace troupe {

/// A random permutation of 0 .. size - 1 that is computed, not stored: a Feistel network over the smallest square of
/// a power of two that holds `size`, applied again while the result falls outside ("cycle walking": Black and Rogaway
/// 2002, "Ciphers with arbitrary finite domains"). Immutable; thread safe.
class permutation {
 public:
  /// REQUIRES: 0 < size <= 2^62.
  permutation(std::uint64_t size, const random_key& key) noexcept;

  /// REQUIRES: index < size.
  std::uint64_t operator()(std::uint64_t index) const noexcept;

 private:
  std::uint64_t encipher(std::uint64_t value) const noexcept;

  static constexpr std::size_t rounds = 8;
  std::uint64_t size_;
  int half_bits_ = 0;
  std::array<std::uint64_t, rounds> keys_;
};

/// Where a sample's first token stands in its split.
///
/// Of `tokens` tokens a sample takes `context`, and one more as the last target; every function
/// REQUIRES: tokens > context > 0.
namespace sample_order {

/// Windows of an epoch without replacement. One less than fit, where more than one does: so an epoch has room to
/// begin anywhere, and tokens that fall on a window's edge, or past the last one, do so in that epoch only.
std::int64_t windows(std::int64_t tokens, std::int64_t context) noexcept;

/// Epoch e is samples e * windows .. (e + 1) * windows - 1: windows side by side from a random offset, each once, in an
/// order drawn anew from (seed, e).
std::int64_t without_replacement(std::int64_t tokens, std::int64_t context, std::uint64_t seed,
                                 std::uint64_t index) noexcept;

/// Anywhere, uniformly and independently, as nanoGPT does.
std::int64_t with_replacement(std::int64_t tokens, std::int64_t context, std::uint64_t seed,
                              std::uint64_t index) noexcept;

/// Windows that evaluation reads: all that fit, side by side from the first token on.
std::int64_t evaluation_windows(std::int64_t tokens, std::int64_t context) noexcept;

/// The same windows in every evaluation. The first n of them spread evenly over the split for every n, and
/// `evaluation_windows` in a row are all windows once: multiples of the golden ratio (Weyl's sequence), in integers.
std::int64_t evaluation(std::int64_t tokens, std::int64_t context, std::uint64_t index) noexcept;

}  // namespace sample_order

}  // namespace troupe
