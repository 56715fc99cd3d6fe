#include <cassert>
#include <cmath>
#include <limits>

#include "runtime/tensor/cpu/cpu_stream.hpp"
#include "runtime/tensor/cpu/gemm.hpp"
#include "runtime/tensor/cpu/math.hpp"

namespace troupe::cpu {

namespace {

/// The loss of one row; with `gradient`, logits become the loss's gradient.
float softmax_row(float* logits, std::int64_t count, std::int32_t target, bool gradient) noexcept {
  if (target < 0) {
    if (gradient)
      std::fill_n(logits, count, 0.0f);
    return 0.0f;
  }
  constexpr float infinity = std::numeric_limits<float>::infinity();
  floats greatest_lanes = broadcast(-infinity);
  each_vector(count, [&](std::int64_t v, auto part) {
    greatest_lanes = max(greatest_lanes, keep(load(logits + v, part), part, -infinity));
  });
  const float greatest = max_of(greatest_lanes);
  floats sums{};
  const float wanted = logits[target];
  each_vector(count, [&](std::int64_t v, auto part) {
    const floats e = exp(load(logits + v, part) - greatest);
    sums += keep(e, part, 0.0f);
    if (gradient)
      store(logits + v, e, part);
  });
  const float sum = sum_of(sums);
  if (gradient) {
    const float scale = 1.0f / sum;
    each_vector(count, [&](std::int64_t v, auto part) { store(logits + v, load(logits + v, part) * scale, part); });
    logits[target] -= 1.0f;
  }
  return greatest - wanted + std::log(sum);
}

}  // namespace

void cpu_stream::linear_cross_entropy(const tensor& hidden, const tensor& weight, const tensor& targets,
                                      const tensor& losses, const tensor& dhidden, const tensor& dweight,
                                      bool fresh) {
  const auto vocabulary = weight.shape()[0], channels = weight.shape()[1], rows = targets.count();
  assert(hidden.count() == rows * channels && losses.count() == rows);
  assert(!dhidden || dhidden.count() == hidden.count());
  const auto chunk_rows = logits_rows(rows, vocabulary);
  const tensor logits_memory = scratch(chunk_rows * vocabulary);
  float* logits = logits_memory.mutable_data<float>();
  const matrix_view table = rows_of(weight.data<float>(), channels);
  for (std::int64_t first = 0; first < rows; first += chunk_rows) {
    const auto count = std::min(chunk_rows, rows - first);
    const matrix_view in = rows_of(hidden.data<float>() + first * channels, channels);
    gemm(team_, on(), {count, vocabulary, channels}, in, table.transposed(), logits, vocabulary);
    each_rows(count, vocabulary, [&](std::int64_t r, std::int64_t last) {
      for (; r < last; ++r)
        losses.mutable_data<float>()[first + r] =
            softmax_row(logits + r * vocabulary, vocabulary, targets.data<std::int32_t>()[first + r],
                        static_cast<bool>(dhidden));
    });
    const matrix_view dlogits = rows_of(logits, vocabulary);
    if (dhidden)
      gemm(team_, on(), {count, channels, vocabulary}, dlogits, table,
           dhidden.mutable_data<float>() + first * channels, channels);
    if (dhidden && dweight)
      gemm(team_, on(), {vocabulary, channels, count}, dlogits.transposed(), in, dweight.mutable_data<float>(),
           channels, {1.0f, first > 0 || !fresh});
  }
}

}  // namespace troupe::cpu
