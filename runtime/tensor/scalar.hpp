#pragma once

#include <utility>

#include "runtime/tensor/tensor.hpp"

namespace troupe {

/// A number to multiply by, of which a factor may still be on its way: a device computes it, and nobody waits for that.
struct scalar {
  double known = 1.0;
  tensor factor;  ///< float64, on the device that multiplies; its first element counts. Empty: 1

  scalar(double known = 1.0, tensor factor = {}) noexcept : known(known), factor(std::move(factor)) {}

  /// REQUIRES: the factor's elements are in host memory.
  double value() const noexcept { return factor ? known * *factor.data<double>() : known; }
};

}  // namespace troupe
