#pragma once

/// Sums of columns: a warp goes down some of the rows, each lane with a pack of columns; a block's warps add up, and then
/// the blocks, in an order that follows from the extents alone.

#include "gpu/kernels/wide.hpp"
#include "gpu/operation.hpp"

namespace troupe::gpu {

inline constexpr int sum_warps = 8;
inline constexpr int sum_threads = sum_warps * warp_size;

/// Columns that a block sums.
template <class T>
inline constexpr int sum_columns = warp_size * pack_size<T>;

/// Calls use(column, sum) for the calling block's columns, its own being number `which`, over so many rows of `in`.
template <class T, class Use>
__device__ void sum_own_columns(const T* in, std::int64_t rows, std::int64_t columns, unsigned which, Use&& use) {
  constexpr int N = pack_size<T>;
  __shared__ float parts[sum_warps][sum_columns<T>];
  const int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size;
  const std::int64_t first = std::int64_t{which} * sum_columns<T>, column = first + lane * N;
  const part of = part_of_row<N>(columns, column, are_aligned(in) && columns % N == 0);
  pack<float, N> sums{};
  if (of.count > 0)
    for (std::int64_t row = warp; row < rows; row += sum_warps)
      add(sums, load<N>(in + row * columns + column, of));
#pragma unroll
  for (int n = 0; n < N; ++n)
    parts[warp][lane * N + n] = sums[n];
  __syncthreads();
  for (int c = threadIdx.x; c < sum_columns<T> && first + c < columns; c += sum_threads) {
    float sum = parts[0][c];
    for (int w = 1; w < sum_warps; ++w)
      sum += parts[w][c];
    use(first + c, sum);
  }
}

/// Sums of `block_rows` rows each into a row of `sums`, or all of them added to it.
template <bool adds, class T>
__global__ void column_sums_kernel(std::int64_t rows, std::int64_t columns, std::int64_t block_rows, const T* in,
                                   float* sums) {
  const std::int64_t first = blockIdx.y * block_rows;
  const std::int64_t count = min(block_rows, rows - first);
  sum_own_columns(in + first * columns, count, columns, blockIdx.x, [&](std::int64_t column, float sum) {
    float& to = sums[blockIdx.y * columns + column];
    to = adds ? to + sum : sum;
  });
}

/// sums[c] += in[0, c] + in[1, c] + ...
template <class T>
void add_columns(operation& op, const T* in, std::int64_t rows, std::int64_t columns, const tensor& sums) {
  constexpr std::int64_t block_rows_min = 64, blocks_max = 256;
  const auto block_rows = std::max(block_rows_min, ceiling(rows, blocks_max)), blocks = ceiling(rows, block_rows);
  const auto grid = [&](std::int64_t along_y, int columns_of_block) -> operation::grid {
    return {dim3(static_cast<unsigned>(ceiling(columns, columns_of_block)), static_cast<unsigned>(along_y)),
            dim3(sum_threads)};
  };
  if (blocks == 1)
    return op.launch(column_sums_kernel<true, T>, grid(1, sum_columns<T>), rows, columns, rows, in,
                     sums.mutable_data<float>());
  const tensor parts = op.scratch(blocks * columns);
  op.launch(column_sums_kernel<false, T>, grid(blocks, sum_columns<T>), rows, columns, block_rows, in,
            parts.mutable_data<float>());
  op.launch(column_sums_kernel<true, float>, grid(1, sum_columns<float>), blocks, columns, blocks, parts.data<float>(),
            sums.mutable_data<float>());
}

}  // namespace troupe::gpu
