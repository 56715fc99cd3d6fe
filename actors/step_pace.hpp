#pragma once

#include <cmath>
#include <cstdint>

#include "actors/job.hpp"

namespace troupe {

/// How fast steps are done now: what was done of late, by the time it took, older steps counting less. Rates of single
/// steps are not averaged: steps may be told in bursts, whose rates say nothing.
class step_pace {
 public:
  void add(const step_report& report) {
    constexpr double memory_seconds = 5.0;
    const auto kept = std::exp(-report.seconds / memory_seconds);
    steps_ = kept * steps_ + 1.0;
    tokens_ = kept * tokens_ + static_cast<double>(report.tokens);
    seconds_ = kept * seconds_ + report.seconds;
  }

  // 0 before the first step.
  double seconds_per_step() const noexcept { return steps_ > 0.0 ? seconds_ / steps_ : 0.0; }
  double tokens_per_second() const noexcept { return seconds_ > 0.0 ? tokens_ / seconds_ : 0.0; }

 private:
  double steps_ = 0.0;
  double tokens_ = 0.0;
  double seconds_ = 0.0;
};

}  // namespace troupe
