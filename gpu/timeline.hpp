#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace troupe::gpu {

/// The order of one stream's work, as other streams see it: its operations are numbered, and any of them can be waited
/// for on the device. Outlives the stream, since blocks of memory remember who used them last.
///
/// Thread safety: enqueued() and wait_for() are called by the stream's own thread, everything else by any.
class timeline {
 public:
  timeline(int device, cudaStream_t handle);
  ~timeline();
  timeline(const timeline&) = delete;
  timeline& operator=(const timeline&) = delete;

  cudaStream_t handle() const noexcept { return handle_; }

  /// The number of the operation to be enqueued next; numbers begin at 1.
  std::uint64_t next() const noexcept { return enqueued_.load(std::memory_order_relaxed) + 1; }
  /// That operation was enqueued.
  void enqueued() noexcept { enqueued_.fetch_add(1, std::memory_order_release); }

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
  int device_;
  std::uint64_t id_;  // never given twice, as an address may be
  cudaStream_t handle_;
  std::atomic<std::uint64_t> enqueued_{0};
  std::atomic<std::uint64_t> passed_{0};
  std::mutex mutex_;  // held while the event is recorded, and while the stream is taken away
  cudaEvent_t behind_ = nullptr;
  std::atomic<bool> finished_{false};
  std::unordered_map<std::uint64_t, std::uint64_t> waited_for_;  // by id: how much of it; of the own thread
};

using timeline_ptr = std::shared_ptr<timeline>;

}  // namespace troupe::gpu
