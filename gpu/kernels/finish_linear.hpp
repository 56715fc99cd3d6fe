#pragma once

#include <cstdint>

#include "gpu/operation.hpp"

namespace troupe::gpu {

// What follows a matrix product where cuBLASLt cannot do it on the way.

/// y[r, c] += bias[c].
void add_bias(const operation& op, std::int64_t rows, const tensor& bias, const tensor& y);

/// pre[r, c] += bias[c] where given, and y = activation(pre).
void add_bias_and_activate(const operation& op, activation kind, std::int64_t rows, const tensor& bias,
                           const tensor& pre, const tensor& y);

}  // namespace troupe::gpu
