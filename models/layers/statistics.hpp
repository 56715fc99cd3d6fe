#pragma once

#include "runtime/tensor/device.hpp"

namespace troupe {

/// The type in which kernels keep means, log-sum-exps and losses: float32, or float64 on a float64 stream.
inline dtype statistics_type(const stream& on) noexcept {
  return on.compute_type() == dtype::float64 ? dtype::float64 : dtype::float32;
}

}  // namespace troupe
