#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstddef>

#include "gpu/memory.hpp"

namespace troupe::gpu {

/// Carries pageable host memory to the device: through page-locked slots in turn, so that the caller may forget its
/// memory at once and copying into the next slot overlaps with the transfer of the one before. Used by one thread at a
/// time. Its end waits for nothing: the slots go back to `memory`, which must outlive it.
class staging {
 public:
  staging(pinned_memory& memory, int device) noexcept : memory_(memory), device_(device) {}
  ~staging();
  staging(const staging&) = delete;
  staging& operator=(const staging&) = delete;

  /// Enqueues the copy on `stream`; waits on the host only while all slots are under way.
  void to_device(std::byte* to, const std::byte* from, std::size_t size_bytes, cudaStream_t stream);

 private:
  static constexpr std::size_t slot_bytes = 4 << 20;

  struct slot {
    buffer_ptr memory;
    cudaEvent_t free = nullptr;  ///< behind the last transfer out of it
  };

  pinned_memory& memory_;
  int device_;
  std::array<slot, 3> slots_;  // made when first used
  std::size_t next_ = 0;
};

}  // namespace troupe::gpu
