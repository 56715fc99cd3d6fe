#include <algorithm>
#include <cassert>

#include "gpu/kernels/column_parts.hpp"

/// Sums are of two stages: as many parts as follow from the extent alone, then those in order. So the same bits come out
/// every time, and no atomics are needed.

namespace troupe::gpu {

namespace {

constexpr int threads = 256;
constexpr std::int64_t elements_per_part = 16 * threads;
constexpr std::int64_t parts_max = 1024;

struct square {
  __device__ static double of(float x) { return static_cast<double>(x) * static_cast<double>(x); }
};

struct itself {
  __device__ static double of(float x) { return static_cast<double>(x); }
};

template <class Term>
__global__ void sum_parts_kernel(std::int64_t count, const float* x, double* parts) {
  double sum = 0.0;
  for (std::int64_t i = std::int64_t{blockIdx.x} * threads + threadIdx.x; i < count; i += std::int64_t{gridDim.x} * threads)
    sum += Term::of(x[i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0)
    parts[blockIdx.x] = sum;
}

__global__ void add_parts_kernel(std::int64_t parts_count, const double* parts, double* out) {
  double sum = 0.0;
  for (std::int64_t i = threadIdx.x; i < parts_count; i += threads)
    sum += parts[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0)
    *out = sum;
}

template <class Term>
void sum_in_double(operation& op, const tensor& x, const tensor& out) {
  const auto parts_count = std::max<std::int64_t>(1, std::min(parts_max, ceiling(x.count(), elements_per_part)));
  const tensor parts = op.scratch(dtype::float64, parts_count);
  op.launch(sum_parts_kernel<Term>, {dim3(static_cast<unsigned>(parts_count)), dim3(threads)}, x.count(),
            x.data<float>(), parts.mutable_data<double>());
  op.launch(add_parts_kernel, {dim3(1), dim3(threads)}, parts_count, parts.data<double>(), out.mutable_data<double>());
}

constexpr std::size_t terms_max = 8;

struct sum_body {
  int count;
  const float* in[terms_max];
  float* out;

  __device__ void operator()(std::int64_t i) const {
    float total = in[0][i];
    for (int n = 1; n < count; ++n)
      total += in[n][i];
    out[i] = total;
  }
};

// Column sums: blocks of rows in parallel, a thread for each column.
constexpr std::int64_t column_blocks_max = 64;
constexpr std::int64_t column_block_rows_min = 32;

template <class T>
__global__ void column_parts_kernel(std::int64_t rows, std::int64_t columns, std::int64_t block_rows, const T* in,
                                    float* parts) {
  const std::int64_t column = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (column >= columns)
    return;
  const std::int64_t first = blockIdx.y * block_rows, last = min(rows, first + block_rows);
  float sum = 0.0f;
  for (std::int64_t r = first; r < last; ++r)
    sum += float(in[r * columns + column]);
  parts[blockIdx.y * columns + column] = sum;
}

}  // namespace

void cuda_stream::sum(std::span<const tensor> in, const tensor& out, const tensor& sum_of_squares) {
  assert(!in.empty());
  {
    operation op(*this, "sum", {}, {});
    for (const tensor& term : in) {
      assert(term.count() == out.count());
      op.also_reads(term);
    }
    op.also_writes(out);
    // `out` may be the first term: what follows the first round adds to it.
    for (std::size_t first = 0; first < in.size();) {
      sum_body body{};
      if (first > 0)
        body.in[body.count++] = out.data<float>();
      for (; first < in.size() && body.count < static_cast<int>(terms_max); ++first)
        body.in[body.count++] = in[first].data<float>();
      body.out = out.mutable_data<float>();
      if (body.count > 1 || body.in[0] != body.out)
        each_element(op, out.count(), body);
    }
  }
  if (sum_of_squares)
    this->sum_of_squares(out, sum_of_squares);
}

void cuda_stream::sum_of_squares(const tensor& x, const tensor& out) {
  operation op(*this, "sum_of_squares", {x}, {out});
  sum_in_double<square>(op, x, out);
}

void cuda_stream::sum_elements(const tensor& x, const tensor& out) {
  operation op(*this, "sum_elements", {x}, {out});
  sum_in_double<itself>(op, x, out);
}

void cuda_stream::add_column_sums(const tensor& in, std::int64_t rows, std::int64_t columns, const tensor& column_sums) {
  operation op(*this, "add_column_sums", {in}, {column_sums});
  const auto block_rows = std::max(column_block_rows_min, ceiling(rows, column_blocks_max));
  const auto parts_count = ceiling(rows, block_rows);
  const tensor parts = op.scratch(parts_count * columns);
  with_element(op, in, [&]<class T>(T) {
    op.launch(column_parts_kernel<T>,
              {dim3(static_cast<unsigned>(ceiling(columns, threads)), static_cast<unsigned>(parts_count)), dim3(threads)},
              rows, columns, block_rows, in.data<T>(), parts.mutable_data<float>());
  });
  add_column_parts(op, parts.data<float>(), parts_count, columns, column_sums);
}

}  // namespace troupe::gpu
