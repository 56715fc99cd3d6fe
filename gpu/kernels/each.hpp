#pragma once

/// Kernels that do the same for each element. A body is a function object with a `__device__ operator()`.

#include "gpu/kernels/device_code.hpp"
#include "gpu/operation.hpp"

namespace troupe::gpu {

inline constexpr int each_threads = 256;
inline constexpr int each_per_thread = 4;
inline constexpr std::int64_t each_per_block = each_threads * each_per_thread;

template <class Body>
__global__ void each_element_kernel(std::int64_t count, Body body) {
  const std::int64_t first = std::int64_t{blockIdx.x} * each_per_block + threadIdx.x;
#pragma unroll
  for (int n = 0; n < each_per_thread; ++n)
    if (const std::int64_t i = first + n * each_threads; i < count)
      body(i);
}

/// Calls body(i) for each i in [0, count).
template <class Body>
void each_element(const operation& op, std::int64_t count, const Body& body) {
  op.launch(each_element_kernel<Body>, {dim3(static_cast<unsigned>(ceiling(count, each_per_block))), dim3(each_threads)},
            count, body);
}

template <class Body>
__global__ void each_in_rows_kernel(std::int64_t columns, unsigned blocks_per_row, Body body) {
  const std::int64_t row = blockIdx.x / blocks_per_row;
  const std::int64_t first = std::int64_t{blockIdx.x % blocks_per_row} * each_per_block + threadIdx.x;
#pragma unroll
  for (int n = 0; n < each_per_thread; ++n)
    if (const std::int64_t column = first + n * each_threads; column < columns)
      body(row, column);
}

/// Calls body(row, column) for each element of a matrix, without a division for each.
template <class Body>
void each_in_rows(const operation& op, std::int64_t rows, std::int64_t columns, const Body& body) {
  const auto blocks_per_row = static_cast<unsigned>(ceiling(columns, each_per_block));
  op.launch(each_in_rows_kernel<Body>, {dim3(static_cast<unsigned>(rows) * blocks_per_row), dim3(each_threads)}, columns,
            blocks_per_row, body);
}

}  // namespace troupe::gpu
