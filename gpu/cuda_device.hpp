#pragma once

#include <map>
#include <mutex>
#include <set>

#include "gpu/memory.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe::gpu {

/// One GPU. Lives as long as the process; thread safe.
class cuda_device final : public device {
 public:
  explicit cuda_device(int index) : index_(index), memory_(*this, index), pinned_(index) {}

  int index() const noexcept { return index_; }
  /// Makes it the calling thread's device, as CUDA calls want it.
  void activate() const;
  /// Lets copies from another device come straight from there, where the two are connected; otherwise the driver takes
  /// them through the host. REQUIRES: this is the calling thread's device.
  void connect(const cuda_device& from);
  /// Lets blocks of a kernel have so much dynamic shared memory, beyond what all may. Asks the driver where it was less.
  /// REQUIRES: this is the calling thread's device.
  cudaError_t allow_shared(const void* kernel, std::size_t bytes);
  pinned_memory& pinned() noexcept { return pinned_; }
  device_memory& cache() noexcept { return memory_; }
  tensor allocate(dtype type, shape extents, const timeline_ptr& who);

  std::string name() const override;
  bool is_host() const noexcept override { return false; }
  bool supports(precision_kind) const noexcept override { return true; }
  std::unique_ptr<stream> make_stream(const stream_options& options) override;
  tensor allocate(dtype type, shape extents) override { return allocate(type, extents, nullptr); }
  memory_usage memory() const override { return memory_.usage(); }
  void trim() override;
  bool is_profiled() const noexcept override;
  void push_range(const std::string& name) override;
  void pop_range() noexcept override;

 private:
  int index_;
  device_memory memory_;
  pinned_memory pinned_;
  std::mutex mutex_;
  std::set<int> connected_;  // devices that were tried
  std::map<const void*, std::size_t> shared_bytes_;  // allowed, by kernel
};

/// How many there are. Throws device_error where there is none, which says why and what to do.
int device_count();

/// REQUIRES: index < device_count().
cuda_device& device_at(int index);

}  // namespace troupe::gpu
