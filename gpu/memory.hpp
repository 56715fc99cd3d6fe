#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "gpu/timeline.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe::gpu {

/// Memory of the device, and who has used it last: whoever uses it next waits, on the device, for whoever would be
/// disturbed. That holds across streams, actors and lives: a block that was freed while work on it was under way can be
/// handed out at once.
class block {
 public:
  block(std::byte* address, std::size_t size_bytes) : address_(address), size_bytes_(size_bytes) {}

  std::byte* address() const noexcept { return address_; }
  std::size_t size_bytes() const noexcept { return size_bytes_; }

  /// The operation that `who` enqueues next reads this, or writes it: it comes after the last write, and a write after
  /// all reads as well.
  void use(const timeline_ptr& who, bool writes);
  /// Whether the device was given all work on it.
  bool is_handed_over() noexcept;
  /// Waits on the host for all of it, which may be that of other devices.
  void wait_for_users() noexcept;

  /// Whose allocations this block serves; null: anybody's.
  timeline_ptr home;

 private:
  struct operation {
    timeline_ptr of;
    std::uint64_t number = 0;
  };

  std::byte* address_;
  std::size_t size_bytes_;
  std::mutex mutex_;
  operation last_write_;
  std::vector<operation> reads_;  // since the last write: the last one of each stream
};

/// A caching allocator of one device's memory, ordered by streams: what comes back serves the next request of the same
/// size from the stream that had it, without waiting. Sizes are rounded as those of the processor's pool
/// (runtime/tensor/memory_pool.hpp). Where the device has no more memory, a block of another stream serves, then
/// everything cached is given back; then device_error.
///
/// Thread safe; must outlive its buffers.
class device_memory {
 public:
  device_memory(device& of, int index) : of_(of), device_(index) {}

  /// Contents unspecified. `who` may be null.
  buffer_ptr allocate(dtype type, const shape& extents, const timeline_ptr& who);
  memory_usage usage() const;
  void trim();

  /// The block of a buffer made by any device_memory; null: it is another kind of memory.
  static block* block_of(const buffer& memory) noexcept;

 private:
  friend class device_buffer;

  /// Null: there is no such memory, even with everything cached given back.
  std::unique_ptr<block> take(std::size_t rounded_bytes, const timeline_ptr& who);
  /// From the device itself; null where it has no more.
  std::unique_ptr<block> take_new(std::size_t rounded_bytes);
  void give_back(std::unique_ptr<block> returned) noexcept;
  void free_cached() noexcept;

  device& of_;
  int device_;
  mutable std::mutex mutex_;
  std::map<std::size_t, std::vector<std::unique_ptr<block>>> cached_;  // by rounded size
  memory_usage usage_;
};

/// A cache of page-locked host memory, which the device reads and writes by itself. Thread safe; must outlive its
/// buffers.
class pinned_memory {
 public:
  explicit pinned_memory(int device) : device_(device) {}

  buffer_ptr allocate(std::size_t size_bytes);
  void trim();

 private:
  friend class pinned_buffer;

  int device_;
  std::mutex mutex_;
  std::multimap<std::size_t, std::byte*> cached_;  // by rounded size
};

}  // namespace troupe::gpu
