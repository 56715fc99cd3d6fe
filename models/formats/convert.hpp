#pragma once

#include "runtime/tensor/tensor.hpp"

namespace troupe {

/// A host tensor of floating-point numbers in another such type, rounded to nearest; the same handle where nothing
/// changes. REQUIRES: `from` and `type` are float32, float64, bfloat16 or float16.
tensor converted(const tensor& from, dtype type);

/// [n, m] as [m, n]: float32, on the host.
tensor transposed(const tensor& from);

}  // namespace troupe
