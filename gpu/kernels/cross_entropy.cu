#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "gpu/kernels/wide.hpp"
#include "gpu/operation.hpp"

namespace troupe::gpu {

namespace {

constexpr int threads = 256;

/// Rows of logits, and of their gradients, begin at multiples of 16 bytes, whatever the vocabulary: for the kernel here,
/// and for the products before and after it.
constexpr int row_step = pack_size<bfloat16>;

/// The greatest of some numbers, and the sum of exponentials of their differences to it: both in one pass (Milakov and
/// Gimelshein 2018, arXiv:1805.02867).
struct softmax_sum {
  float greatest = std::numeric_limits<float>::lowest(), sum = 0.0f;

  template <int N>
  __device__ void add(const pack<float, N>& terms, int count) {
    float now = greatest;
#pragma unroll
    for (int n = 0; n < N; ++n)
      now = n < count ? max(now, terms[n]) : now;
    sum *= expf(greatest - now);
    greatest = now;
#pragma unroll
    for (int n = 0; n < N; ++n)
      sum += n < count ? expf(terms[n] - now) : 0.0f;
  }
  /// Of all threads of the block.
  __device__ void add_block() {
    const float own = greatest;
    greatest = block_max(own);
    sum = block_sum(sum * expf(own - greatest));
  }
};

/// A block for each row, `stride` apart: its loss and, where `all_gradients` is given, the loss's gradient, which may
/// take the place of the logits where it is of their type.
template <class T>
__global__ void softmax_rows_kernel(std::int64_t vocabulary, std::int64_t stride, const std::int32_t* targets,
                                    const float* all_logits, T* all_gradients, float* losses) {
  constexpr int N = pack_size<T, float>;
  const float* const logits = all_logits + blockIdx.x * stride;
  T* const gradient = all_gradients ? all_gradients + blockIdx.x * stride : nullptr;
  const std::int32_t target = targets[blockIdx.x];
  if (target < 0) {
    if (gradient)
      each_own_pack<N>(vocabulary, true, [&](std::int64_t v, part of) { store<N>(gradient + v, pack<T, N>{}, of); });
    if (threadIdx.x == 0)
      losses[blockIdx.x] = 0.0f;
    return;
  }
  softmax_sum softmax;
  each_own_pack<N>(vocabulary, true, [&](std::int64_t v, part of) { softmax.add(load<N>(logits + v, of), of.count); });
  softmax.add_block();
  if (threadIdx.x == 0)
    losses[blockIdx.x] = softmax.greatest - logits[target] + logf(softmax.sum);
  if (!gradient)
    return;
  __syncthreads();  // the loss was read from what is overwritten now
  const float scale = 1.0f / softmax.sum;
  each_own_pack<N>(vocabulary, true, [&](std::int64_t v, part of) {
    const pack<float, N> terms = load<N>(logits + v, of);
    pack<T, N> to;
#pragma unroll
    for (int n = 0; n < N; ++n)
      to[n] = rounded<T>(expf(terms[n] - softmax.greatest) * scale - (v + n == target ? 1.0f : 0.0f));
    store<N>(gradient + v, to, of);
  });
}

}  // namespace

void cuda_stream::linear_cross_entropy(const tensor& hidden, const tensor& weight, const tensor& targets,
                                       const tensor& losses, const tensor& dhidden, const tensor& dweight, bool fresh) {
  const auto vocabulary = weight.shape()[0], channels = weight.shape()[1], rows = targets.count();
  assert(hidden.count() == rows * channels && losses.count() == rows);
  assert(!dhidden || dhidden.count() == hidden.count());
  const auto chunk_rows = logits_rows(rows, vocabulary), stride = ceiling(vocabulary, row_step) * row_step;
  operation op(*this, "linear_cross_entropy", {hidden, weight, targets}, {losses, dhidden, dweight});
  const tensor all_logits = op.scratch(chunk_rows * stride);
  tensor all_gradients;
  if (dhidden)
    all_gradients = dhidden.type() == dtype::float32 ? all_logits : op.scratch(dhidden.type(), chunk_rows * stride);
  for (std::int64_t first = 0; first < rows; first += chunk_rows) {
    const auto count = std::min(chunk_rows, rows - first);
    const tensor in = hidden.slice(first * channels, {count, channels});
    op.products().enqueue({.rows = count, .columns = vocabulary, .depth = channels, .a = in, .b = weight,
                           .c = {all_logits, stride}, .transpose_b = true},
                          op.handle());
    with_element(op, hidden, [&]<class T>(T) {
      op.launch(softmax_rows_kernel<T>, {dim3(static_cast<unsigned>(count)), dim3(threads)}, vocabulary, stride,
                targets.data<std::int32_t>() + first, all_logits.data<float>(), mutable_or_null<T>(all_gradients),
                losses.mutable_data<float>() + first);
    });
    if (dhidden)
      op.products().enqueue({.rows = count, .columns = channels, .depth = vocabulary, .a = {all_gradients, stride},
                             .b = weight, .c = dhidden.slice(first * channels, {count, channels})},
                            op.handle());
    if (dhidden && dweight)
      op.products().enqueue({.rows = vocabulary, .columns = channels, .depth = count, .a = {all_gradients, stride},
                             .b = in, .c = dweight, .transpose_a = true, .accumulate = first > 0 || !fresh},
                            op.handle());
  }
}

}  // namespace troupe::gpu
