#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include "gpu/kernels/column_sums.hpp"
#include "gpu/kernels/each.hpp"

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
  constexpr int N = pack_size<float>;
  const bool aligned = are_aligned(x);
  double sum = 0.0;
  for (std::int64_t i = (std::int64_t{blockIdx.x} * threads + threadIdx.x) * N; i < count;
       i += std::int64_t{gridDim.x} * threads * N) {
    const pack<float, N> terms = load<N>(x + i, part_of_row<N>(count, i, aligned));
#pragma unroll
    for (int n = 0; n < N; ++n)
      sum += Term::of(terms[n]);
  }
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
  template <class... Terms>
  __device__ void operator()(float& out, float first, Terms... rest) const {
    out = first;
    ((out += rest), ...);
  }
};

/// out = in[0] + in[1] + ..., of as many as there are indices.
template <std::size_t... index>
void sum_terms(const operation& op, std::span<const float* const> in, const tensor& out, std::index_sequence<index...>) {
  each_element(op, out.count(), sum_body{}, out.mutable_data<float>(), in[index]...);
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
    std::array<const float*, terms_max> terms;
    for (std::size_t next = 0; next < in.size();) {
      std::size_t count = 0;
      if (next > 0)
        terms[count++] = out.data<float>();
      while (next < in.size() && count < terms_max)
        terms[count++] = in[next++].data<float>();
      if (count > 1 || terms[0] != out.data<float>())
        [&]<std::size_t... below>(std::index_sequence<below...>) {
          ((count == below + 1 ? sum_terms(op, terms, out, std::make_index_sequence<below + 1>()) : void()), ...);
        }(std::make_index_sequence<terms_max>());
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
  with_element(op, in, [&]<class T>(T) { add_columns(op, in.data<T>(), rows, columns, column_sums); });
}

}  // namespace troupe::gpu
