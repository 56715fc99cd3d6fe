#include "gpu/nccl_communicator.hpp"

#include <cstdlib>
#include <cstring>
#include <utility>

namespace troupe::gpu {

namespace {

constexpr std::chrono::seconds settle_within{10};
/// A kernel that waits for the other rank keeps its blocks' processors; those of all links must leave most free.
constexpr int blocks_max = 4;

}  // namespace

nccl_communicator::nccl_communicator(std::shared_ptr<const nccl> library, const cuda_device& on, const channel_id& id,
                                     int rank)
    : call_(std::move(library)), on_(on) {
  on_.activate();
  nccl::unique_id meeting_place;
  std::memcpy(meeting_place.bytes, id.data(), id.size());
  nccl::configuration how;
  how.blocking = 0;
  how.blocks_max = blocks_max;
  require(call_->init_rank(&handle_, 2, meeting_place, rank, &how), "forming a link");
}

void nccl_communicator::require(int result, const char* doing) {
  if (is_failure(result))
    fail(fmt::format("{}: {} ({})", doing, call_->get_error_string(result), call_->get_last_error(handle_)));
}

void nccl_communicator::fail(const std::string& what) {
  {
    const std::lock_guard lock(fault_mutex_);
    if (!broken_.exchange(true))
      fault_ = what;
  }
  require_whole();
  std::abort();  // it is broken
}

void nccl_communicator::require_whole() const {
  if (!broken_)
    return;
  const std::lock_guard lock(fault_mutex_);
  throw device_error(on_.name() + ": NCCL: " + fault_);
}

bool nccl_communicator::has_settled_locked() {
  require_whole();
  int error = nccl::success;
  require(call_->get_async_error(handle_, &error), "asking how a link is");
  require(error, "carrying tensors");
  return error == nccl::success;
}

void nccl_communicator::settle(const char* doing) {
  for (const auto until = std::chrono::steady_clock::now() + settle_within; !has_settled_locked();) {
    if (std::chrono::steady_clock::now() > until)
      fail(fmt::format("{}: not enqueued within {} s", doing, settle_within.count()));
    std::this_thread::yield();
  }
}

void nccl_communicator::abort() noexcept {
  break_off();  // so that whoever has the lock leaves
  nccl::communicator last = nullptr;
  {
    const std::lock_guard lock(mutex_);
    last = std::exchange(handle_, nullptr);
  }
  if (!last)
    return;
  cudaSetDevice(on_.index());
  call_->abort(last);  // takes its time, and others find the lock free
}

}  // namespace troupe::gpu
