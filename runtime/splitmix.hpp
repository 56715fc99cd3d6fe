#pragma once

#include <cstdint>

namespace troupe {

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"): every bit
/// of the result depends on every bit of `value`, and different values give different results.
constexpr std::uint64_t mix_bits(std::uint64_t value) noexcept {
  value = (value ^ value >> 30) * 0xbf58'476d'1ce4'e5b9;
  value = (value ^ value >> 27) * 0x94d0'49bb'1331'11eb;
  return value ^ value >> 31;
}

}  // namespace troupe
