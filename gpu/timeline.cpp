#include "gpu/timeline.hpp"

#include <limits>

#include "gpu/error.hpp"

namespace troupe::gpu {

namespace {

std::atomic<std::uint64_t> timelines{0};

}  // namespace

timeline::timeline(int device, cudaStream_t handle, device_memory& memory)
    : device_(device), id_(++timelines), handle_(handle), graphs_(device, memory) {
  check(cudaEventCreateWithFlags(&behind_, cudaEventDisableTiming), device_, "creating an event");
}

timeline::~timeline() { finish(); }

bool timeline::has_to_wait_for(const timeline& other, std::uint64_t number) const {
  const auto seen = waited_for_.find(other.id_);
  return (seen == waited_for_.end() || seen->second < number) && other.passed_.load(std::memory_order_acquire) < number;
}

void timeline::wait_for(timeline& other, std::uint64_t number) {
  if (!has_to_wait_for(other, number))
    return;
  if (!other.has_handed_over(number))
    end_section();  // or the two might wait for each other
  // What is waited on is what was found too little: anything handed over meanwhile ends the wait.
  for (auto found = other.handed_over_.load(); found < number; found = other.handed_over_.load())
    other.handed_over_.wait(found);
  const std::lock_guard lock(other.mutex_);
  if (other.finished_)
    return;
  // An event that is recorded anew does not change what waits for it already.
  waited_for_[other.id_] = other.handed_over_.load(std::memory_order_acquire);
  check(cudaEventRecord(other.behind_, other.handle_), device_, "recording an event");
  check(cudaStreamWaitEvent(handle_, other.behind_, 0), device_, "waiting for an event");
}

void timeline::hand_over(std::uint64_t number) noexcept {
  handed_over_.store(number, std::memory_order_release);
  handed_over_.notify_all();
}

void timeline::enqueued() noexcept {
  ++enqueued_;
  if (!graphs_.is_recording())
    hand_over(enqueued_);
}

void timeline::begin_section(std::uint64_t key) {
  end_section();
  graphs_.begin(key);
}

bool timeline::end_section() {
  if (!graphs_.is_recording())
    return false;
  graphs_.launch(handle_);
  hand_over(enqueued_);
  return true;
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
  graphs_.abandon();
  hand_over(std::numeric_limits<std::uint64_t>::max());
  // A lost device says so here, too: whoever works on it was told, or will be.
  cudaStreamSynchronize(handle_);
  graphs_.clear();
  cudaEventDestroy(behind_);
  cudaStreamDestroy(handle_);
}

}  // namespace troupe::gpu
