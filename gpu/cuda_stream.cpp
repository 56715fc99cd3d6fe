#include "gpu/cuda_stream.hpp"

#include <cassert>
#include <string>

#include "gpu/cuda_device.hpp"
#include "gpu/error.hpp"
#include "gpu/operation.hpp"

namespace troupe::gpu {

namespace {

class recorded_point final : public event {
 public:
  recorded_point(timeline_ptr of, std::uint64_t number) : of(std::move(of)), number(number) {}

  timeline_ptr of;
  std::uint64_t number;
};

dtype compute_type_of(precision_kind precision) {
  const bool narrow = precision == precision_kind::bfloat16 || precision == precision_kind::automatic;
  return narrow ? dtype::bfloat16 : dtype::float32;
}

timeline_ptr make_timeline(cuda_device& on) {
  on.activate();
  cudaStream_t handle = nullptr;
  check(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking), on.index(), "creating a stream");
  return std::make_shared<timeline>(on.index(), handle, on.cache());
}

}  // namespace

// -- operations -----------------------------------------------------------------

operation::operation(cuda_stream& on, const char* name, tensors reads, tensors writes) : on_(on), name_(name) {
  on_.device_.activate();
  on_.recent_[on_.operations_++ % on_.recent_.size()] = name;
  for (const tensor& each : reads)
    use(each, false);
  for (const tensor& each : writes)
    use(each, true);
}

void operation::use(const tensor& what, bool writes) {
  if (!what)
    return;
  if (described_count_ < described_max)
    described_[described_count_++] = &what;
  block* const memory = device_memory::block_of(*what.owner());
  assert(memory && "a kernel got a tensor that is not on a CUDA device");
  memory->use(on_.timeline_, writes);
}

tensor operation::scratch(dtype type, std::int64_t count) {
  const tensor memory = on_.allocate(type, {count});
  device_memory::block_of(*memory.owner())->use(on_.timeline_, true);
  return memory;
}

matrix_products& operation::products() {
  if (!on_.products_)
    on_.products_.emplace(on_.device_.index(), on_.tf32_, scratch(dtype::uint8, matrix_products::workspace_bytes));
  return *on_.products_;
}

void operation::allow_shared(const void* kernel, std::size_t bytes) const {
  check(on_.device_.allow_shared(kernel, bytes));
}

fused_attention* operation::fused() {
  if (!on_.fused_)
    try {
      on_.fused_ = std::make_unique<fused_attention>(on_.device_);
    } catch (const cudnn_refusal&) {
      on_.fused_ = nullptr;  // `troupe devices` says why
    }
  return on_.fused_->get();
}

std::string operation::describe() const {
  std::string text = std::string(name_) + "(";
  for (std::size_t i = 0; i < described_count_; ++i)
    text += (i > 0 ? ", " : "") + troupe::describe(*described_[i]);
  return text + ")";
}

void operation::check(cudaError_t status) const {
  if (status != cudaSuccess)
    gpu::check(status, on_.device_.index(), describe());
}

void operation::refuse(const std::string& what) const {
  throw device_error(on_.device_.name() + ": " + describe() + ": there is no kernel for " + what);
}

// -- the stream -----------------------------------------------------------------

cuda_stream::cuda_stream(cuda_device& on, precision_kind precision, bool graphs)
    : stream(on, compute_type_of(precision)),
      device_(on),
      tf32_(precision == precision_kind::tf32),
      graphs_(graphs),
      timeline_(make_timeline(on)),
      staging_(on.pinned(), on.index()) {
  // nop
}

cuda_stream::~cuda_stream() {
  cudaSetDevice(device_.index());
  timeline_->finish();
}

tensor cuda_stream::allocate(dtype type, shape extents) { return device_.allocate(type, extents, timeline_); }

void cuda_stream::wait_on_host(const char* doing) {
  timeline_->end_section();
  const auto status = cudaStreamSynchronize(timeline_->handle());
  if (status == cudaSuccess)
    return;
  std::string label = std::string(doing) + " after";
  for (std::size_t i = operations_ - std::min(operations_, recent_.size()); i < operations_; ++i)
    label += std::string(" ") + recent_[i % recent_.size()];
  check(status, device_.index(), label);
}

void cuda_stream::synchronize() {
  device_.activate();
  if (arrivals_)
    arrivals_->wait_on_host("bringing tensors to the device");
  wait_on_host("waiting");
}

event_ptr cuda_stream::record() { return std::make_shared<recorded_point>(timeline_, timeline_->next() - 1); }

void cuda_stream::wait(const event& point) {
  device_.activate();
  const auto& reached = dynamic_cast<const recorded_point&>(point);
  if (reached.of != timeline_)
    timeline_->wait_for(*reached.of, reached.number);
}

void cuda_stream::begin_section(std::uint64_t key) {
  if (!graphs_)
    return;
  device_.activate();
  timeline_->begin_section(key);
}

void cuda_stream::end_section() {
  device_.activate();
  timeline_->end_section();
}

void cuda_stream::zero(const tensor& out) {
  const operation op(*this, "zero", {}, {out});
  op.check(cudaMemsetAsync(out.mutable_bytes(), 0, out.size_bytes(), op.handle()));
}

void cuda_stream::copy(const tensor& in, const tensor& out) {
  assert(in.type() == out.type() && in.count() == out.count());
  if (in.bytes() == out.bytes())
    return;
  const operation op(*this, "copy", {in}, {out});
  op.check(cudaMemcpyAsync(out.mutable_bytes(), in.bytes(), in.size_bytes(), cudaMemcpyDeviceToDevice, op.handle()));
}

tensor cuda_stream::to_device(const tensor& from) {
  if (from.owner()->on() == &device_)
    return from;
  if (!arrivals_)
    arrivals_ = std::make_unique<cuda_stream>(device_, precision_kind::float32);
  return arrivals_->bring(from);
}

tensor cuda_stream::bring(const tensor& from) {
  const tensor made = allocate(from.type(), from.shape());
  operation op(*this, "to_device", {}, {made});
  const auto* const there = static_cast<cuda_device*>(from.owner()->on());
  if (!there) {
    staging_.to_device(made.mutable_bytes(), from.bytes(), from.size_bytes(), op.handle());
    return made;
  }
  device_.connect(*there);
  op.also_reads(from);
  op.check(cudaMemcpyPeerAsync(made.mutable_bytes(), device_.index(), from.bytes(), there->index(), from.size_bytes(),
                               op.handle()));
  return made;
}

tensor cuda_stream::to_host(const tensor& in) { return all_to_host({&in, 1}).front(); }

std::vector<tensor> cuda_stream::all_to_host(std::span<const tensor> in) {
  std::vector<tensor> out;
  for (const tensor& each : in) {
    if (!each.owner()->on()) {
      out.push_back(each);
      continue;
    }
    const operation op(*this, "to_host", {each}, {});
    out.emplace_back(device_.pinned().allocate(each.size_bytes()), 0, each.type(), each.shape());
    op.check(cudaMemcpyAsync(out.back().mutable_bytes(), each.bytes(), each.size_bytes(), cudaMemcpyDeviceToHost,
                             op.handle()));
  }
  wait_on_host("copying to the host");
  return out;
}

}  // namespace troupe::gpu
