#pragma once

#include <cstdint>

namespace troupe {

/// The learning rate as a function of the step.
struct schedule_settings {
  enum class kind : std::uint8_t { constant, cosine, linear, warmup_stable_decay };
  kind shape = kind::cosine;
  std::int64_t warmup_steps = 0;   ///< linear from 0 to the peak, as nanoGPT: peak * (step + 1) / (warmup + 1)
  std::int64_t decay_steps = 0;    ///< step at which the minimum is reached; 0: the end of the run
  std::int64_t stable_steps = 0;   ///< warmup_stable_decay: steps at the peak before the decay
  double minimum_ratio = 0.0;      ///< of the peak
};

/// Learning rate for update `step` (0 for the first) of a run of `steps` updates.
double learning_rate_at(const schedule_settings& schedule, double peak, std::int64_t step, std::int64_t steps);

}  // namespace troupe
