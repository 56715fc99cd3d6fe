#pragma once

#include <chrono>
#include <cstdint>

namespace troupe {

/// Exponential back-off with jitter. Without state: a delay is a function of (seed, attempt), so that a simulation
/// replays it.
struct backoff {
  std::chrono::milliseconds first{0};   ///< before attempt 1; doubled for each one after
  std::chrono::milliseconds max{10'000};
  double jitter = 0.2;                  ///< the delay is scaled by a factor drawn from [1 - jitter, 1 + jitter]
  std::uint64_t seed = 0;

  /// `attempt` counts how far to double; `draw` numbers the random draw.
  std::chrono::milliseconds delay(std::uint32_t attempt, std::uint64_t draw) const;
};

}  // namespace troupe
