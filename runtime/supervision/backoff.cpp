#include "runtime/supervision/backoff.hpp"

#include <algorithm>
#include <cmath>

#include "runtime/splitmix.hpp"

namespace troupe {

namespace {

/// Uniform in [0, 1): the numbers of SplitMix64.
double uniform(std::uint64_t seed, std::uint64_t draw) {
  return static_cast<double>(mix_bits(seed + (draw + 1) * 0x9e37'79b9'7f4a'7c15) >> 11) * 0x1.0p-53;
}

}  // namespace

std::chrono::milliseconds backoff::delay(std::uint32_t attempt, std::uint64_t draw) const {
  const auto doublings = static_cast<int>(std::min(attempt, 60u)) - 1;
  const auto doubled = std::ldexp(static_cast<double>(first.count()), doublings);
  const auto plain = std::min(doubled, static_cast<double>(max.count()));
  const auto factor = 1.0 + jitter * (2.0 * uniform(seed, draw) - 1.0);
  return std::chrono::milliseconds{std::llround(plain * factor)};
}

}  // namespace troupe
