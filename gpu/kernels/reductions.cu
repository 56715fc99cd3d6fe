#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include "gpu/kernels/column_sums.hpp"
#include "gpu/kernels/together.hpp"

/// Sums are of two stages: as many parts as follow from the extent alone, then those in order. So the same bits come out
/// every time, and no atomics are needed.

namespace troupe::gpu {

namespace {

constexpr std::int64_t elements_per_part = 16 * each_threads;
constexpr std::int64_t parts_max = 1024;

unsigned parts_of(const tensor& x) {
  return static_cast<unsigned>(std::clamp<std::int64_t>(ceiling(x.count(), elements_per_part), 1, parts_max));
}

struct square {
  __device__ static double of(float x) { return static_cast<double>(x) * static_cast<double>(x); }
};

struct itself {
  __device__ static double of(float x) { return static_cast<double>(x); }
};

/// Of one of many arrays: the sums of as many parts of it as it has blocks.
template <class Term>
struct part_sums {
  std::int64_t count;
  unsigned parts_count;
  const float* x;
  double* parts;

  unsigned blocks() const { return parts_count; }
  __device__ void operator()(unsigned block) const {
    constexpr int N = pack_size<float>;
    const bool aligned = are_aligned(x);
    double sum = 0.0;
    for (std::int64_t i = (std::int64_t{block} * each_threads + threadIdx.x) * N; i < count;
         i += std::int64_t{parts_count} * each_threads * N) {
      const pack<float, N> terms = load<N>(x + i, part_of_row<N>(count, i, aligned));
#pragma unroll
      for (int n = 0; n < N; ++n)
        sum += Term::of(terms[n]);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
      parts[block] = sum;
  }
};

/// Then the sum of those.
struct total {
  unsigned count;
  const double* parts;
  double* out;

  unsigned blocks() const { return 1; }
  __device__ void operator()(unsigned) const {
    double sum = 0.0;
    for (unsigned i = threadIdx.x; i < count; i += each_threads)
      sum += parts[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
      *out = sum;
  }
};

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

template <class Term>
void cuda_stream::sum_each(const char* name, std::span<const tensor> in, const tensor& out) {
  constexpr auto most = std::min(together<part_sums<Term>>::most, together<total>::most);
  for (std::size_t next = 0; next < in.size();) {
    operation op(*this, name, {}, {out});
    const auto end = std::min(in.size(), next + most);
    std::int64_t parts_count = 0;
    for (std::size_t i = next; i < end; ++i)
      parts_count += parts_of(in[i]);
    const tensor parts = op.scratch(dtype::float64, parts_count);
    together<part_sums<Term>> sums;
    together<total> totals;
    for (double* own = parts.mutable_data<double>(); next < end; own += parts_of(in[next++])) {
      op.also_reads(in[next]);
      sums.add({in[next].count(), parts_of(in[next]), in[next].data<float>(), own});
      totals.add({parts_of(in[next]), own, out.mutable_data<double>() + next});
    }
    sums.launch(op);
    totals.launch(op);
  }
}

void cuda_stream::sum_of_squares(const tensor& x, const tensor& out) {
  sum_each<square>("sum_of_squares", {&x, 1}, out);
}

void cuda_stream::sum_of_squares_all(std::span<const tensor> in, const tensor& out) {
  assert(out.count() == static_cast<std::int64_t>(in.size()));
  sum_each<square>("sum_of_squares_all", in, out);
}

void cuda_stream::sum_elements(const tensor& x, const tensor& out) { sum_each<itself>("sum_elements", {&x, 1}, out); }

void cuda_stream::add_column_sums(const tensor& in, std::int64_t rows, std::int64_t columns, const tensor& column_sums) {
  operation op(*this, "add_column_sums", {in}, {column_sums});
  with_element(op, in, [&]<class T>(T) { add_columns(op, in.data<T>(), rows, columns, column_sums); });
}

}  // namespace troupe::gpu
