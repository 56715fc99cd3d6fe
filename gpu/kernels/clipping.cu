#include <cassert>

#include "gpu/kernels/each.hpp"

namespace troupe::gpu {

namespace {

/// One block. The squares come to shared memory together, and one thread adds them in their order.
__global__ void clip_kernel(std::int64_t count, const double* squares, double scale, double most, double* out) {
  __shared__ double next[each_threads];
  double sum = 0.0;
  for (std::int64_t first = 0; first < count; first += each_threads) {
    __syncthreads();  // those before were added
    if (first + threadIdx.x < count)
      next[threadIdx.x] = squares[first + threadIdx.x];
    __syncthreads();
    if (threadIdx.x == 0)
      for (std::int64_t i = first; i < count && i < first + each_threads; ++i)
        sum += next[i - first];
  }
  if (threadIdx.x > 0)
    return;
  const double norm = scale * sqrt(sum);
  out[0] = clipping_factor(norm, most);
  out[1] = norm;
}

}  // namespace

void cuda_stream::clip_by_norm(std::span<const tensor> squares, double scale, double most, const tensor& out) {
  assert(out.count() == 2);
  operation op(*this, "clip_by_norm", {}, {out});
  std::int64_t count = 0;
  for (const tensor& part : squares) {
    op.also_reads(part);
    count += part.count();
  }
  const tensor all = op.scratch(dtype::float64, count);
  std::byte* to = all.mutable_bytes();
  for (const tensor& part : squares) {
    op.check(cudaMemcpyAsync(to, part.bytes(), part.size_bytes(), cudaMemcpyDeviceToDevice, op.handle()));
    to += part.size_bytes();
  }
  op.launch(clip_kernel, {dim3(1), dim3(each_threads)}, count, all.data<double>(), scale, most, out.mutable_data<double>());
}

}  // namespace troupe::gpu
