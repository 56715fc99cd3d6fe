#include "runtime/supervision/backoff.hpp"

#include <algorithm>
#include <cmath>

namespace troupe {

namespace {

/// Uniform in [0, 1). The mixer is splitmix64's (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number
/// generators").
double uniform(std::uint64_t seed, std::uint64_t draw) {
  auto z = seed + (draw + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1.0p-53;
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
