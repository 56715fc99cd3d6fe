#include "gpu/nccl_channel.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include <fmt/format.h>

#include "gpu/error.hpp"
#include "gpu/nccl_communicator.hpp"
#include "gpu/transfers.hpp"

namespace troupe::gpu {

namespace {

/// One end of a channel. Shared with tensors that are to come by it, and with the thread that ends it.
class nccl_line {
 public:
  nccl_line(std::shared_ptr<const nccl> library, cuda_device& on, const channel_id& id, channel_end end)
      : sends_(end == channel_end::sending),
        by_(std::move(library), on, id, sends_ ? nccl_communicator::sender : nccl_communicator::receiver),
        transfers_(on),
        greeting_(transfers_.begin({transfers_.allocate({dtype::uint8, {1}})}, !sends_)) {}

  bool is_ready() {
    by_.require_whole();
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (lock && by_.has_settled()) {
      come_closer();
      transfers_.sweep();
    }
    return stage_ == stage::ready;
  }

  /// False: then as much is under way as may be.
  bool send(std::span<const tensor> what, std::size_t bytes_max) {
    const std::lock_guard lock(mutex_);
    by_.require_whole();
    transfers_.sweep();
    auto bytes = transfers_.bytes();
    for (const auto& each : what)
      bytes += each.size_bytes();
    if (bytes > bytes_max)
      return false;
    std::vector<tensor> copies;
    for (const auto& each : what)
      copies.push_back(transfers_.copy(each));
    start("send", std::move(copies));
    return true;
  }

  std::shared_ptr<transfer> receive(std::span<const tensor_form> what) {
    const std::lock_guard lock(mutex_);
    by_.require_whole();
    transfers_.sweep();
    std::vector<tensor> here;
    for (const auto& each : what)
      here.push_back(transfers_.allocate(each));
    return start("receive", std::move(here));
  }

  std::vector<tensor> wait_for(transfer& coming) {
    coming.over.wait();
    by_.require_whole();  // or it was over early
    transfers_.passed(coming);
    return std::move(coming.tensors);
  }

  void break_off() noexcept { by_.break_off(); }
  /// Lets go of whoever waits for the other end; may wait for the ends of other channels.
  void end() noexcept {
    by_.abort();
    const std::lock_guard lock(mutex_);
    transfers_.finish();
  }

 private:
  auto calls_for(const transfer& what) const {
    return [this, &what](const nccl& call, nccl::communicator by, auto require) {
      const auto stream = transfers_.stream();
      for (const auto& each : what.tensors)
        require(sends_ ? call.send(each.bytes(), each.size_bytes(), nccl::byte_type, nccl_communicator::receiver, by,
                                   stream)
                       : call.receive(each.mutable_bytes(), each.size_bytes(), nccl::byte_type,
                                      nccl_communicator::sender, by, stream));
    };
  }

  std::shared_ptr<transfer> start(const char* name, std::vector<tensor> what) {
    auto made = transfers_.begin(std::move(what), !sends_);
    by_.enqueue(name, calls_for(*made));
    try {
      transfers_.enqueued(*made);
    } catch (const device_error&) {
      by_.break_off();  // the other end counts on it
      throw;
    }
    return made;
  }

  /// The first transfer connects the two for good and waits for both: from then on to enqueue one waits for nobody.
  enum class stage : std::uint8_t { meeting, greeting, greeted, ready };

  void come_closer() {
    if (stage_ == stage::meeting) {
      by_.begin("greeting", calls_for(*greeting_));
      stage_ = stage::greeting;
    } else if (stage_ == stage::greeting) {
      transfers_.enqueued(*greeting_);
      stage_ = stage::greeted;
    } else if (stage_ == stage::greeted && greeting_->over.is_reached()) {
      stage_ = stage::ready;
    }
  }

  const bool sends_;
  nccl_communicator by_;
  std::mutex mutex_;  // of all below
  transfers transfers_;
  const std::shared_ptr<transfer> greeting_;
  std::atomic<stage> stage_{stage::meeting};
};

class nccl_incoming final : public incoming_tensors {
 public:
  nccl_incoming(std::shared_ptr<nccl_line> by, std::shared_ptr<transfer> what)
      : by_(std::move(by)), what_(std::move(what)) {}

  std::vector<tensor> wait() override { return by_->wait_for(*what_); }

 private:
  std::shared_ptr<nccl_line> by_;
  std::shared_ptr<transfer> what_;
};

class nccl_channel final : public device_channel {
 public:
  nccl_channel(std::shared_ptr<nccl_line> line, std::shared_ptr<endings> ends, std::size_t under_way_max)
      : line_(std::move(line)), endings_(std::move(ends)), under_way_max_(under_way_max) {}
  ~nccl_channel() override { break_off(); }

  bool is_ready() override { return line_->is_ready(); }
  bool send(std::span<const tensor> what) override { return line_->send(what, under_way_max_); }

  std::unique_ptr<incoming_tensors> receive(std::span<const tensor_form> what) override {
    try {
      return std::make_unique<nccl_incoming>(line_, line_->receive(what));
    } catch (const device_error&) {
      break_off();  // the other end sends, and nobody receives
      throw;
    }
  }

  void break_off() override {
    line_->break_off();
    if (!ends_.exchange(true))
      endings_->begin([line = line_] { line->end(); });
  }

 private:
  const std::shared_ptr<nccl_line> line_;
  const std::shared_ptr<endings> endings_;
  const std::size_t under_way_max_;
  std::atomic<bool> ends_{false};
};

}  // namespace

std::string nccl_channel_maker::gpu() const {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, on_.index()), on_.index(), "asking for its properties");
  std::string text;
  for (const char each : properties.uuid.bytes)
    text += fmt::format("{:02x}", static_cast<unsigned char>(each));
  return text;
}

channel_id nccl_channel_maker::draw_id() {
  on_.activate();
  nccl::unique_id drawn;
  if (const int result = library_->get_unique_id(&drawn); result != nccl::success)
    throw device_error(fmt::format("{}: NCCL: drawing an id: {} ({})", on_.name(), library_->get_error_string(result),
                                   library_->get_last_error(nullptr)));
  channel_id id;
  std::memcpy(id.data(), drawn.bytes, id.size());
  return id;
}

std::unique_ptr<device_channel> nccl_channel_maker::open(const channel_id& id, channel_end end) {
  constexpr std::size_t part = 64;  // of the GPU's memory, for what one channel sends
  on_.activate();
  std::size_t free_bytes = 0, all_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &all_bytes), on_.index(), "asking for its memory");
  auto line = std::make_shared<nccl_line>(library_, on_, id, end);
  return std::make_unique<nccl_channel>(std::move(line), endings_, all_bytes / part);
}

std::string nccl_channel_maker::advice() const {
  for (const char* const name : {"CUDA_MODULE_LOADING", "CUDA_DEVICE_MAX_CONNECTIONS"})
    if (!std::getenv(name))
      return "start nodes with CUDA_MODULE_LOADING=EAGER and CUDA_DEVICE_MAX_CONNECTIONS=32 in their environment, or what "
             "a GPU computes may come to wait for a device link, and so for another node";
  return {};
}

}  // namespace troupe::gpu
