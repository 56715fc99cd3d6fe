#pragma once

#include <atomic>
#include <cstddef>
#include <memory>

namespace troupe {

class device;

/// A block of memory on some device, owned by shared handles.
///
/// Thread safety: handles may be copied and dropped from any thread. Contents are
/// written only by whoever knows itself to be the sole owner or has an agreement
/// with the other owners (messages are such an agreement: what was sent is no
/// longer written).
class buffer {
 public:
  virtual ~buffer() = default;
  buffer(const buffer&) = delete;
  buffer& operator=(const buffer&) = delete;

  std::byte* data() noexcept { return data_; }
  const std::byte* data() const noexcept { return data_; }
  std::size_t size_bytes() const noexcept { return size_bytes_; }
  /// Whose memory it is; null: the host's.
  virtual device* on() const noexcept { return nullptr; }

 protected:
  buffer(std::byte* data, std::size_t size_bytes) noexcept : data_(data), size_bytes_(size_bytes) {}

  std::byte* data_;
  std::size_t size_bytes_;
};

using buffer_ptr = std::shared_ptr<buffer>;

/// Whether `owner` is the only handle, so that its holder may write in place.
/// Pairs with the release of the last other handle: what its holder read or wrote happened before.
inline bool unique(const buffer_ptr& owner) noexcept {
  if (owner.use_count() != 1)
    return false;
  std::atomic_thread_fence(std::memory_order_acquire);
  return true;
}

/// Host memory, aligned to 64 bytes (to 2 MiB, with huge pages asked for, from 4 MiB up); contents unspecified.
buffer_ptr make_host_buffer(std::size_t size_bytes);

}  // namespace troupe
