#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "gpu/cuda_device.hpp"
#include "gpu/nccl.hpp"

namespace troupe::gpu {

/// A communicator of two ranks that does not block: what is called for is under way when the communicator has settled.
/// Whatever fails breaks it for good, and throws device_error from then on. Thread safe.
class nccl_communicator {
 public:
  static constexpr int sender = 0, receiver = 1;

  /// Begins to look for the other rank.
  nccl_communicator(std::shared_ptr<const nccl> library, const cuda_device& on, const channel_id& id, int rank);
  ~nccl_communicator() { abort(); }
  nccl_communicator(const nccl_communicator&) = delete;
  nccl_communicator& operator=(const nccl_communicator&) = delete;

  /// Calls `calls(library, communicator)` as one operation.
  template <class Calls>
  void begin(const char* doing, Calls calls) {
    const std::lock_guard lock(mutex_);
    begin_locked(doing, calls);
  }
  /// The same, and waits until it is under way: only then may anything be enqueued behind it. REQUIRES: that depends on
  /// this process alone.
  template <class Calls>
  void enqueue(const char* doing, Calls calls) {
    const std::lock_guard lock(mutex_);
    begin_locked(doing, calls);
    settle(doing);
  }

  /// False also while another thread is at it.
  bool has_settled() {
    require_whole();
    const std::unique_lock lock(mutex_, std::try_to_lock);
    return lock && has_settled_locked();
  }
  /// Throws what broke it first.
  void require_whole() const;
  /// Breaks it, and returns: whoever uses it from now on finds it broken. To be followed by `abort`.
  void break_off() noexcept { broken_ = true; }
  /// Breaks it: whoever waits for the other rank, on the host or on the device, goes on, and finds it broken. May wait
  /// until other communicators of this GPU have done what they wait for, or were aborted themselves.
  void abort() noexcept;

 private:
  template <class Calls>
  void begin_locked(const char* doing, Calls& calls) {
    has_settled_locked();
    require(call_->group_start(), doing);
    int worst = nccl::success;  // the first failure: the group ends all the same, or this thread's next one would be in it
    calls(*call_, handle_, [&](int result) {
      if (is_failure(result) && worst == nccl::success)
        worst = result;
    });
    const int ended = call_->group_end();
    require(worst, doing);
    require(ended, doing);
  }
  static bool is_failure(int result) { return result != nccl::success && result != nccl::in_progress; }
  bool has_settled_locked();
  void settle(const char* doing);
  void require(int result, const char* doing);
  [[noreturn]] void fail(const std::string& what);

  std::shared_ptr<const nccl> call_;
  const cuda_device& on_;
  std::atomic<bool> broken_{false};  // before it is aborted: what waits ends only afterwards
  mutable std::mutex fault_mutex_;
  std::string fault_ = "the link was broken off";
  std::mutex mutex_;
  nccl::communicator handle_ = nullptr;
};

}  // namespace troupe::gpu
