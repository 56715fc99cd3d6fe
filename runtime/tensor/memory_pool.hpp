#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>

#include "runtime/tensor/buffer.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe {

/// A caching allocator of host memory, for devices whose memory is the host's.
///
/// Sizes are rounded up to one of eight sizes between neighbouring powers of two, so at most an eighth is
/// wasted, and a block that comes back waits in its size's list for the next request. A training step asks for
/// the same sizes as the one before and finds them all there, still in the processor's caches where small.
///
/// Thread safe, and cheap to share: each size has its own lock, held for two assignments. Buffers come back when their
/// last handle is dropped, in whichever thread; the pool must outlive them.
class memory_pool {
 public:
  memory_pool() = default;
  memory_pool(const memory_pool&) = delete;
  memory_pool& operator=(const memory_pool&) = delete;
  ~memory_pool() { trim(); }

  /// Contents unspecified. Where the system has no more it gets all cached blocks back before the second and last
  /// try; then throws std::bad_alloc.
  buffer_ptr allocate(std::size_t size_bytes);

  /// Sizes as rounded: what the system had to provide.
  memory_usage usage() const noexcept;

  /// Gives cached blocks back to the system.
  void trim() noexcept;

  /// What a request for this many bytes takes.
  static std::size_t rounded_size(std::size_t size_bytes) noexcept;

 private:
  friend class pooled_buffer;

  /// A block nobody uses holds the link to the next one.
  struct free_block {
    free_block* next;
  };
  struct alignas(64) free_list {
    std::mutex mutex;
    free_block* first = nullptr;
  };

  std::byte* take(std::size_t size_bytes);
  void give_back(std::byte* memory, std::size_t size_bytes) noexcept;
  std::byte* allocate_from_system(std::size_t size_bytes);

  std::array<free_list, 8 * 40> lists_;  ///< by size class, eight for each doubling
  std::atomic<std::size_t> in_use_bytes_{0};
  std::atomic<std::size_t> peak_bytes_{0};
  std::atomic<std::size_t> reserved_bytes_{0};
};

}  // namespace troupe
