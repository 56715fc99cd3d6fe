#include "gpu/nccl_channel.hpp"

#include <atomic>
#include <cstring>
#include <mutex>
#include <optional>

#include <fmt/format.h>

#include "gpu/cuda_stream.hpp"
#include "gpu/error.hpp"
#include "gpu/nccl_communicator.hpp"
#include "gpu/operation.hpp"

namespace troupe::gpu {

namespace {

/// A point of a stream that the host waits for without spinning.
class host_event {
 public:
  explicit host_event(int device) : device_(device) {
    check(cudaEventCreateWithFlags(&handle_, cudaEventDisableTiming | cudaEventBlockingSync), device_,
          "creating an event");
  }
  ~host_event() { cudaEventDestroy(handle_); }
  host_event(const host_event&) = delete;
  host_event& operator=(const host_event&) = delete;

  void record(const operation& behind) {
    check(cudaEventRecord(handle_, behind.handle()), device_, "recording an event");
  }
  bool is_reached() const {
    const auto status = cudaEventQuery(handle_);
    if (status == cudaErrorNotReady)
      return false;
    check(status, device_, "asking for an event");
    return true;
  }
  void wait() const { check(cudaEventSynchronize(handle_), device_, "waiting for tensors from another node"); }

 private:
  int device_;
  cudaEvent_t handle_ = nullptr;
};

class nccl_incoming final : public incoming_tensors {
 public:
  nccl_incoming(std::shared_ptr<nccl_communicator> by, int device, std::vector<tensor> tensors)
      : by_(std::move(by)), there_(device), tensors_(std::move(tensors)) {}

  void record(const operation& behind) { there_.record(behind); }

  std::vector<tensor> wait() override {
    there_.wait();
    by_->require_whole();  // or it was over early
    return std::move(tensors_);
  }

 private:
  std::shared_ptr<nccl_communicator> by_;
  host_event there_;
  std::vector<tensor> tensors_;
};

class nccl_channel final : public device_channel {
 public:
  nccl_channel(std::shared_ptr<const nccl> library, cuda_device& on, const channel_id& id, channel_end end)
      : on_(on),
        end_(end),
        by_(std::make_shared<nccl_communicator>(
            std::move(library), on, id,
            end == channel_end::sending ? nccl_communicator::sender : nccl_communicator::receiver)),
        stream_(on, precision_kind::float32),
        greeting_(on.allocate(dtype::uint8, {1})) {}
  ~nccl_channel() override { by_->break_off(); }

  bool is_ready() override {
    if (!by_->has_settled())
      return false;
    if (!ready_)
      come_closer();
    return ready_;
  }

  void send(std::span<const tensor> what) override {
    const std::lock_guard lock(mutex_);
    by_->require_whole();
    std::vector<tensor> here;  // a tensor of another GPU comes to this one first
    for (const auto& each : what)
      here.push_back(stream_.to_device(each));
    transfer("send", here);
  }

  std::unique_ptr<incoming_tensors> receive(std::span<const tensor_form> what) override {
    const std::lock_guard lock(mutex_);
    by_->require_whole();
    std::vector<tensor> here;  // until the channel is broken off: what is enqueued may still write there
    try {
      on_.activate();
      for (const auto& each : what)
        here.push_back(stream_.allocate(each.type, each.extents));
      auto coming = std::make_unique<nccl_incoming>(by_, on_.index(), here);
      transfer("receive", here, coming.get());
      return coming;
    } catch (const device_error&) {
      by_->break_off();  // the other end sends, and nobody receives
      throw;
    }
  }

  void break_off() override { by_->break_off(); }

 private:
  auto calls_for(operation& op, std::span<const tensor> what) {
    const bool sends = end_ == channel_end::sending;
    for (const auto& each : what)
      sends ? op.also_reads(each) : op.also_writes(each);
    return [sends, what, stream = op.handle()](const nccl& call, nccl::communicator by, auto require) {
      for (const auto& each : what)
        require(sends ? call.send(each.bytes(), each.size_bytes(), nccl::byte_type, nccl_communicator::receiver, by,
                                  stream)
                      : call.receive(each.mutable_bytes(), each.size_bytes(), nccl::byte_type,
                                     nccl_communicator::sender, by, stream));
    };
  }

  /// The first transfer connects the two for good and waits for both: from then on to enqueue one waits for nobody.
  enum class stage : std::uint8_t { meeting, greeting, greeted };

  void come_closer() {
    const std::lock_guard lock(mutex_);
    on_.activate();
    if (stage_ == stage::meeting) {
      operation op(stream_, "greet", {}, {});
      by_->begin("greeting", calls_for(op, {&greeting_, 1}));
      stage_ = stage::greeting;
    } else if (stage_ == stage::greeting) {
      const operation op(stream_, "greeted", {}, {});
      greeted_.emplace(on_.index()).record(op);
      stage_ = stage::greeted;
    } else {
      ready_ = greeted_->is_reached();
    }
  }

  void transfer(const char* name, std::span<const tensor> what, nccl_incoming* coming = nullptr) {
    operation op(stream_, name, {}, {});
    by_->enqueue(name, calls_for(op, what));
    if (coming)
      coming->record(op);
  }

  cuda_device& on_;
  const channel_end end_;
  const std::shared_ptr<nccl_communicator> by_;
  std::mutex mutex_;
  cuda_stream stream_;
  tensor greeting_;
  stage stage_ = stage::meeting;
  std::optional<host_event> greeted_;
  std::atomic<bool> ready_{false};
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
  return std::make_unique<nccl_channel>(library_, on_, id, end);
}

}  // namespace troupe::gpu
