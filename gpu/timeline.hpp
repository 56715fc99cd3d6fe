#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "gpu/section_graphs.hpp"

namespace troupe::gpu {

class device_memory;

/// The order of one stream's work, as other streams see it: its operations are numbered, and any of them can be waited
/// for on the device. Outlives the stream, since blocks of memory remember who used them last.
///
/// In a section operations are recorded, and handed over to the device together. Nobody else has to know: whoever is to
/// come after one of them waits on the host until it was handed over, and a stream that would have to wait so hands its own
/// over first, so that no two wait for each other.
///
/// Thread safety: the stream's own thread calls next(), enqueued(), has_to_wait_for(), wait_for(), handle(), and begins and
/// ends sections; everything else is called by any.
class timeline {
 public:
  timeline(int device, cudaStream_t handle, device_memory& memory);
  ~timeline();
  timeline(const timeline&) = delete;
  timeline& operator=(const timeline&) = delete;

  /// On which its next operation is to be enqueued.
  cudaStream_t handle() const noexcept { return graphs_.is_recording() ? graphs_.recorder() : handle_; }

  /// The number of the operation to be enqueued next; numbers begin at 1.
  std::uint64_t next() const noexcept { return enqueued_ + 1; }
  /// That operation was enqueued.
  void enqueued() noexcept;
  bool has_handed_over(std::uint64_t number) const noexcept {
    return handed_over_.load(std::memory_order_acquire) >= number;
  }

  void begin_section(std::uint64_t key);
  /// Hands over what was recorded; false: nothing was.
  bool end_section();

  /// Whether wait_for has anything to do.
  bool has_to_wait_for(const timeline& other, std::uint64_t number) const;
  /// What is enqueued here from now on waits until `other` is through with its operation `number`, enqueued before, and
  /// with what `other` has enqueued since.
  void wait_for(timeline& other, std::uint64_t number);
  /// The host has seen that operation `number` is over, and all before it: nobody has to wait for them any more.
  void passed(std::uint64_t number) noexcept;

  /// Waits on the host for everything enqueued so far.
  void synchronize() noexcept;
  /// Waits on the host for everything, and takes the stream away: nobody has to wait for it any more.
  void finish() noexcept;
  bool is_finished() const noexcept { return finished_; }

 private:
  void hand_over(std::uint64_t number) noexcept;

  int device_;
  std::uint64_t id_;  // never given twice, as an address may be
  cudaStream_t handle_;
  section_graphs graphs_;
  std::uint64_t enqueued_ = 0;
  std::atomic<std::uint64_t> handed_over_{0};  // so many of them; all, once it is finished
  std::atomic<std::uint64_t> passed_{0};
  std::mutex mutex_;  // held while the event is recorded, and while the stream is taken away
  cudaEvent_t behind_ = nullptr;
  std::atomic<bool> finished_{false};
  std::unordered_map<std::uint64_t, std::uint64_t> waited_for_;  // by id: how much of it; of the own thread
};

using timeline_ptr = std::shared_ptr<timeline>;

}  // namespace troupe::gpu
