#include <algorithm>
#include <cassert>
#include <cmath>

#include "gpu/kernels/each.hpp"

namespace troupe::gpu {

namespace {

constexpr int threads = 256;

/// A block for each row: its loss; where `gradient`, logits become the loss's gradient.
__global__ void softmax_rows_kernel(std::int64_t vocabulary, const std::int32_t* targets, bool gradient, float* all_logits,
                                    float* losses) {
  float* const logits = all_logits + blockIdx.x * vocabulary;
  const std::int32_t target = targets[blockIdx.x];
  if (target < 0) {
    if (gradient)
      for (std::int64_t v = threadIdx.x; v < vocabulary; v += threads)
        logits[v] = 0.0f;
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
    logits[v] = expf(logits[v] - greatest) * scale - (v == target ? 1.0f : 0.0f);
}

}  // namespace

void cuda_stream::linear_cross_entropy(const tensor& hidden, const tensor& weight, const tensor& targets,
                                       const tensor& losses, const tensor& dhidden, const tensor& dweight, bool fresh) {
  const auto vocabulary = weight.shape()[0], channels = weight.shape()[1], rows = targets.count();
  assert(hidden.count() == rows * channels && losses.count() == rows);
  assert(!dhidden || dhidden.count() == hidden.count());
  const auto chunk_rows = logits_rows(rows, vocabulary);
  operation op(*this, "linear_cross_entropy", {hidden, weight, targets}, {losses, dhidden, dweight});
  const tensor logits_memory = op.scratch(chunk_rows * vocabulary);
  float* const logits = logits_memory.mutable_data<float>();
  const bool gradient = static_cast<bool>(dhidden);
  for (std::int64_t first = 0; first < rows; first += chunk_rows) {
    const auto count = std::min(chunk_rows, rows - first);
    const float* const in = hidden.data<float>() + first * channels;
    op.products().enqueue({.rows = count, .columns = vocabulary, .depth = channels, .a = in, .b = weight.data<float>(),
                           .c = logits, .transpose_b = true},
                          op.handle());
    op.launch(softmax_rows_kernel, {dim3(static_cast<unsigned>(count)), dim3(threads)}, vocabulary,
              targets.data<std::int32_t>() + first, gradient, logits, losses.mutable_data<float>() + first);
    if (dhidden)
      op.products().enqueue({.rows = count, .columns = channels, .depth = vocabulary, .a = logits,
                             .b = weight.data<float>(), .c = dhidden.mutable_data<float>() + first * channels},
                            op.handle());
    if (dhidden && dweight)
      op.products().enqueue({.rows = vocabulary, .columns = channels, .depth = count, .a = logits, .b = in,
                             .c = dweight.mutable_data<float>(), .transpose_a = true,
                             .accumulate = first > 0 || !fresh},
                            op.handle());
  }
}

}  // namespace troupe::gpu
