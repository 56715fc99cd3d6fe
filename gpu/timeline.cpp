#include "gpu/timeline.hpp"

#include <cassert>

#include "gpu/error.hpp"

namespace troupe::gpu {

namespace {

std::atomic<std::uint64_t> timelines{0};

}  // namespace

timeline::timeline(int device, cudaStream_t handle) : device_(device), id_(++timelines), handle_(handle) {
  check(cudaEventCreateWithFlags(&behind_, cudaEventDisableTiming), device_, "creating an event");
}

timeline::~timeline() { finish(); }

void timeline::wait_for(timeline& other, std::uint64_t number) {
  auto& seen = waited_for_[other.id_];
  if (seen >= number || other.passed_.load(std::memory_order_acquire) >= number)
    return;
  const std::lock_guard lock(other.mutex_);
  if (other.finished_)
    return;
  // An event that is recorded anew does not change what waits for it already.
  seen = other.enqueued_.load(std::memory_order_acquire);
  assert(seen >= number && "a tensor was touched while another thread still enqueued work on it");
  check(cudaEventRecord(other.behind_, other.handle_), device_, "recording an event");
  check(cudaStreamWaitEvent(handle_, other.behind_, 0), device_, "waiting for an event");
}

void timeline::passed(std::uint64_t number) noexcept {
  for (auto known = passed_.load(); known < number && !passed_.compare_exchange_weak(known, number);) {
  }
}

void timeline::synchronize() noexcept {
  const std::lock_guard lock(mutex_);
  if (!finished_)
    cudaStreamSynchronize(handle_);
}

void timeline::finish() noexcept {
  const std::lock_guard lock(mutex_);
  if (finished_)
    return;
  finished_ = true;
  // A lost device says so here, too: whoever works on it was told, or will be.
  cudaStreamSynchronize(handle_);
  cudaEventDestroy(behind_);
  cudaStreamDestroy(handle_);
}

}  // namespace troupe::gpu
