#include <algorithm>
#include <cassert>
#include <cmath>

#include "gpu/kernels/each.hpp"

namespace troupe::gpu {

namespace {

constexpr int threads = 256;

/// A block for each row: its loss and, where `all_gradients` is given, the loss's gradient, which may take the place of
/// the logits where it is of their type.
template <class T>
__global__ void softmax_rows_kernel(std::int64_t vocabulary, const std::int32_t* targets, const float* all_logits,
                                    T* all_gradients, float* losses) {
  const float* const logits = all_logits + blockIdx.x * vocabulary;
  T* const gradient = all_gradients ? all_gradients + blockIdx.x * vocabulary : nullptr;
  const std::int32_t target = targets[blockIdx.x];
  if (target < 0) {
    if (gradient)
      for (std::int64_t v = threadIdx.x; v < vocabulary; v += threads)
        gradient[v] = T(0.0f);
    if (threadIdx.x == 0)
      losses[blockIdx.x] = 0.0f;
    return;
  }
  float greatest = -INFINITY;
  for (std::int64_t v = threadIdx.x; v < vocabulary; v += threads)
    greatest = max(greatest, logits[v]);
  greatest = block_max(greatest);
  float sum = 0.0f;
  for (std::int64_t v = threadIdx.x; v < vocabulary; v += threads)
    sum += expf(logits[v] - greatest);
  sum = block_sum(sum);
  if (threadIdx.x == 0)
    losses[blockIdx.x] = greatest - logits[target] + logf(sum);
  if (!gradient)
    return;
  __syncthreads();  // the loss was read from what is overwritten now
  const float scale = 1.0f / sum;
  for (std::int64_t v = threadIdx.x; v < vocabulary; v += threads)
    gradient[v] = T(expf(logits[v] - greatest) * scale - (v == target ? 1.0f : 0.0f));
}

}  // namespace

void cuda_stream::linear_cross_entropy(const tensor& hidden, const tensor& weight, const tensor& targets,
                                       const tensor& losses, const tensor& dhidden, const tensor& dweight, bool fresh) {
  const auto vocabulary = weight.shape()[0], channels = weight.shape()[1], rows = targets.count();
  assert(hidden.count() == rows * channels && losses.count() == rows);
  assert(!dhidden || dhidden.count() == hidden.count());
  const auto chunk_rows = logits_rows(rows, vocabulary);
  operation op(*this, "linear_cross_entropy", {hidden, weight, targets}, {losses, dhidden, dweight});
  const tensor all_logits = op.scratch(chunk_rows * vocabulary);
  tensor all_gradients;
  if (dhidden)
    all_gradients = dhidden.type() == dtype::float32 ? all_logits : op.scratch(dhidden.type(), chunk_rows * vocabulary);
  for (std::int64_t first = 0; first < rows; first += chunk_rows) {
    const auto count = std::min(chunk_rows, rows - first);
    const tensor in = hidden.slice(first * channels, {count, channels});
    op.products().enqueue({.rows = count, .columns = vocabulary, .depth = channels, .a = in, .b = weight,
                           .c = all_logits, .transpose_b = true},
                          op.handle());
    with_element(op, hidden, [&]<class T>(T) {
      op.launch(softmax_rows_kernel<T>, {dim3(static_cast<unsigned>(count)), dim3(threads)}, vocabulary,
                targets.data<std::int32_t>() + first, all_logits.data<float>(), mutable_or_null<T>(all_gradients),
                losses.mutable_data<float>() + first);
    });
    if (dhidden)
      op.products().enqueue({.rows = count, .columns = channels, .depth = vocabulary, .a = all_gradients, .b = weight,
                             .c = dhidden.slice(first * channels, {count, channels})},
                            op.handle());
    if (dhidden && dweight)
      op.products().enqueue({.rows = vocabulary, .columns = channels, .depth = count, .a = all_gradients, .b = in,
                             .c = dweight, .transpose_a = true, .accumulate = first > 0 || !fresh},
                            op.handle());
  }
}

}  // namespace troupe::gpu
