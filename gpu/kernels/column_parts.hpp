#pragma once

#include "gpu/kernels/each.hpp"

namespace troupe::gpu {

struct column_parts_body {
  std::int64_t parts_count, stride;
  const float* parts;
  float* sums;

  __device__ void operator()(std::int64_t column) const {
    float sum = 0.0f;
    for (std::int64_t part = 0; part < parts_count; ++part)
      sum += parts[part * stride + column];
    sums[column] += sum;
  }
};

/// sums[c] += parts[0, c] + parts[1, c] + ..., where rows of parts are `stride` apart: the second stage of sums over
/// rows.
inline void add_column_parts(const operation& op, const float* parts, std::int64_t parts_count, std::int64_t stride,
                             const tensor& sums) {
  each_element(op, sums.count(), column_parts_body{parts_count, stride, parts, sums.mutable_data<float>()});
}

}  // namespace troupe::gpu
