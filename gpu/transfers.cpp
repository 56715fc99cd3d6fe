#include "gpu/transfers.hpp"

#include <utility>

#include "gpu/cuda_device.hpp"
#include "gpu/error.hpp"
#include "gpu/operation.hpp"

namespace troupe::gpu {

namespace {

std::size_t bytes_of(const std::vector<tensor>& all) {
  std::size_t sum = 0;
  for (const auto& each : all)
    sum += each.size_bytes();
  return sum;
}

}  // namespace

transfer::transfer(int device, std::vector<tensor> all)
    : tensors(std::move(all)), bytes(bytes_of(tensors)), over(device) {}

transfers::transfers(cuda_device& on) : on_(on), near_(on, precision_kind::float32), prepared_(on.index()) {
  on_.activate();
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), on_.index(), "creating a stream");
}

transfers::~transfers() {
  finish();
  cudaStreamDestroy(stream_);
}

tensor transfers::copy(const tensor& from) {
  if (from.owner()->on() != &on_)
    return near_.to_device(from);
  const tensor made = near_.allocate(from.type(), from.shape());
  near_.copy(from, made);
  return made;
}

std::shared_ptr<transfer> transfers::begin(std::vector<tensor> tensors, bool writes) {
  on_.activate();
  auto made = std::make_shared<transfer>(on_.index(), std::move(tensors));
  {
    operation op(near_, "prepare", {}, {});
    for (const auto& each : made->tensors)
      writes ? op.also_writes(each) : op.also_reads(each);
    made->prepared = near_.order().next();
  }
  prepared_.record(near_.order().handle());
  prepared_.hold_back(stream_);
  under_way_.push_back(made);
  bytes_ += made->bytes;
  return made;
}

void transfers::enqueued(transfer& last) {
  last.over.record(stream_);
  last.enqueued = true;
}

void transfers::sweep() {
  for (; !under_way_.empty(); under_way_.pop_front()) {
    const auto& oldest = *under_way_.front();
    if (!oldest.enqueued || !oldest.over.is_reached())
      return;
    passed(oldest);
    bytes_ -= oldest.bytes;
  }
}

void transfers::finish() noexcept {
  cudaSetDevice(on_.index());
  cudaStreamSynchronize(stream_);
  under_way_.clear();
  bytes_ = 0;
}

}  // namespace troupe::gpu
