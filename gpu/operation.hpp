#pragma once

#include <array>
#include <functional>
#include <initializer_list>
#include <string>

#include "gpu/cuda_stream.hpp"

namespace troupe::gpu {

/// One method's work on its way to the device. Its beginning puts it behind the work of other streams on the tensors
/// that it reads and writes; its end gives it its number, so that others can come after it.
///
///     void cuda_stream::scaled_add(...) {
///       operation op(*this, "scaled_add", {a, b}, {out});
///       op.launch(scaled_add_kernel, {blocks, threads}, count, a.data<float>(), ...);
///     }
class operation {
 public:
  using tensors = std::initializer_list<std::reference_wrapper<const tensor>>;

  /// Empty handles are skipped. What is written may be among what is read.
  operation(cuda_stream& on, const char* name, tensors reads, tensors writes);
  ~operation() { on_.timeline_->enqueued(); }
  operation(const operation&) = delete;
  operation& operator=(const operation&) = delete;

  void also_reads(const tensor& in) { use(in, false); }
  void also_writes(const tensor& out) { use(out, true); }
  /// Memory for the time of this operation.
  tensor scratch(dtype type, std::int64_t count);
  tensor scratch(std::int64_t floats) { return scratch(dtype::float32, floats); }

  cudaStream_t handle() const noexcept { return on_.timeline_->handle(); }
  matrix_products& products();
  /// Null where the device's attention is computed by kernels of this folder alone.
  fused_attention* fused();

  /// Throws device_error naming the operation and its tensors.
  void check(cudaError_t status) const;
  [[noreturn]] void refuse(const std::string& what) const;

  struct grid {
    dim3 blocks;
    dim3 threads;
    std::size_t shared_bytes = 0;  ///< of dynamic shared memory, for each block
  };

  /// Nothing happens for a grid without blocks.
  template <class... Parameters, class... Arguments>
  void launch(void (*kernel)(Parameters...), const grid& over, const Arguments&... arguments) const {
    constexpr std::size_t shared_bytes_unasked = 48 << 10;
    if (over.blocks.x == 0 || over.blocks.y == 0 || over.blocks.z == 0)
      return;
    if (over.shared_bytes > shared_bytes_unasked)
      allow_shared(reinterpret_cast<const void*>(kernel), over.shared_bytes);
    cudaLaunchConfig_t config{};
    config.gridDim = over.blocks;
    config.blockDim = over.threads;
    config.dynamicSmemBytes = over.shared_bytes;
    config.stream = handle();
    check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...));
  }

 private:
  static constexpr std::size_t described_max = 16;

  void use(const tensor& what, bool writes);
  void allow_shared(const void* kernel, std::size_t bytes) const;
  std::string describe() const;

  cuda_stream& on_;
  const char* name_;
  std::array<const tensor*, described_max> described_{};
  std::size_t described_count_ = 0;
};

// The elements of optional arguments.
template <class T = float>
const T* data_or_null(const tensor& t) {
  return t ? t.data<T>() : nullptr;
}
template <class T = float>
T* mutable_or_null(const tensor& t) {
  return t ? t.mutable_data<T>() : nullptr;
}

/// Calls body(T{}) with the type of `like`, which kernels of activations have an instance for. They compute in float:
/// float(x[i]) reads an element of T, T(value) rounds to one.
template <class Body>
void with_element(const operation& op, const tensor& like, Body&& body) {
  if (like.type() == dtype::float32)
    return body(float{});
  if (like.type() == dtype::bfloat16)
    return body(bfloat16{});
  op.refuse("elements of " + std::string(to_string(like.type())));
}

}  // namespace troupe::gpu
