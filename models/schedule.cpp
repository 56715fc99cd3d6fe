#include "models/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace troupe {

double learning_rate_at(const schedule_settings& schedule, double peak, std::int64_t step, std::int64_t steps) {
  using kind = schedule_settings::kind;
  if (step < schedule.warmup_steps)
    return peak * static_cast<double>(step + 1) / static_cast<double>(schedule.warmup_steps + 1);
  if (schedule.shape == kind::constant)
    return peak;
  const std::int64_t stable = schedule.shape == kind::warmup_stable_decay ? schedule.stable_steps : 0;
  const std::int64_t first = schedule.warmup_steps + stable;
  const std::int64_t last = schedule.decay_steps > 0 ? schedule.decay_steps : steps;
  if (step < first)
    return peak;
  // A decay that would begin after its end has no slope: it drops to the minimum.
  const double done = last <= first ? 1.0 : std::min(1.0, static_cast<double>(step - first) /
                                                              static_cast<double>(last - first));
  const double left = schedule.shape == kind::cosine ? 0.5 * (1.0 + std::cos(std::numbers::pi * done)) : 1.0 - done;
  return peak * (schedule.minimum_ratio + (1.0 - schedule.minimum_ratio) * left);
}

}  // namespace troupe
