#include "models/planning_device.hpp"

#include <algorithm>
#include <cstring>

#include "runtime/tensor/memory_pool.hpp"

namespace troupe {

namespace {

/// Every kernel does nothing, but the one that takes much memory inside: for logits.
class planning_stream final : public stream {
 public:
  planning_stream(device& on, dtype compute_type) : stream(on, compute_type) {}

  using t = const tensor&;

  void synchronize() override {}
  event_ptr record() override { return std::make_shared<event>(); }
  void wait(const event&) override {}
  void zero(t) override {}
  void copy(t, t) override {}
  void cast(t, t) override {}
  void round_stochastic(const random_key&, t, t) override {}
  tensor to_device(t host) override { return on().allocate(host.type(), host.shape()); }
  tensor to_host(t in) override {
    const tensor host = make_host_tensor(in.type(), in.shape());
    std::memset(host.mutable_bytes(), 0, host.size_bytes());
    return host;
  }
  void scaled_add(double, t, const scalar&, t, t) override {}
  void scale_to_unit(t, t, double, t) override {}
  void activation_forward(activation, t, t) override {}
  void activation_backward(activation, t, t, t) override {}
  void swiglu_forward(t, t) override {}
  void swiglu_backward(t, t, t) override {}
  void dropout(const dropout_options&, t, t) override {}
  void matmul(t, t, t, const matmul_options&) override {}
  void linear_forward(t, t, t, t) override {}
  void linear_activation_forward(activation, t, t, t, t, t) override {}
  void linear_backward(t, t, t, t, t, t, bool) override {}
  void layer_norm_forward(t, t, t, t, double, t, t, t, t) override {}
  void layer_norm_backward(t, t, t, t, t, t, t, t, t) override {}
  void rms_norm_forward(t, t, t, double, t, t, t) override {}
  void rms_norm_backward(t, t, t, t, t, t, t) override {}
  void rotary(const attention_shape&, double, std::int64_t, bool, t) override {}
  void attention_forward(const attention_shape&, const dropout_options&, t, t, t) override {}
  void attention_backward(const attention_shape&, const dropout_options&, t, t, t, t, t) override {}
  void attention_cached(const attention_shape&, std::int64_t, t, t, t, t) override {}
  void embedding_forward(t, std::int64_t, std::int64_t, t, t, t) override {}
  void embedding_backward(t, std::int64_t, t, t, t) override {}
  void linear_cross_entropy(t, t weight, t targets, t, t dhidden, t, bool) override {
    const std::int64_t vocabulary = weight.shape()[0];
    const std::int64_t row = on().is_host() ? vocabulary : (vocabulary + 7) / 8 * 8;  // of whole accesses
    const shape chunk{logits_rows(targets.count(), vocabulary), row};
    const tensor logits = allocate(accumulation_type(), chunk);
    const tensor gradients = dhidden && compute_type() != accumulation_type() ? allocate(chunk) : tensor{};
  }
  void sum(std::span<const tensor>, t, t) override {}
  void sum_of_squares(t, t) override {}
  void sum_elements(t, t) override {}
  void clip_by_norm(std::span<const tensor>, double, double, t) override {}
  void adamw(const adamw_options&, t, t, t, t, t, t, t) override {}
  void sgd(const sgd_options&, t, t, t, t, t) override {}
  void lion(const lion_options&, t, t, t, t, t) override {}
  void compensate_delay(const compensation_options&, t, t, t, t, t) override {}
};

}  // namespace

std::size_t planned_hardware::bytes_of(dtype type, const shape& extents) const noexcept {
  const auto bytes = static_cast<std::size_t>(extents.count()) * size_bytes(type);
  return is_host ? bytes : memory_pool::rounded_size(bytes);
}

class planning_device::planned_buffer final : public buffer {
 public:
  planned_buffer(planning_device& on, std::size_t size_bytes) : buffer(nullptr, size_bytes), on_(on) {
    on_.take(size_bytes);
  }
  ~planned_buffer() override { on_.give_back(size_bytes_); }

 private:
  planning_device& on_;
};

std::unique_ptr<stream> planning_device::make_stream(const stream_options& options) {
  const bool narrow = options.precision == precision_kind::bfloat16;
  return std::make_unique<planning_stream>(*this, narrow ? dtype::bfloat16 : dtype::float32);
}

tensor planning_device::allocate(dtype type, shape extents) {
  const auto bytes = static_cast<std::size_t>(extents.count()) * size_bytes(type);
  return {std::make_shared<planned_buffer>(*this, bytes), 0, type, extents};
}

void planning_device::take(std::size_t size_bytes) {
  const std::lock_guard lock(mutex_);
  size_class& taken = classes_[memory_pool::rounded_size(size_bytes)];
  taken.peak = std::max(taken.peak, ++taken.in_use);
  taken.size_bytes_max = std::max(taken.size_bytes_max, size_bytes);
  in_use_bytes_ += size_bytes;
  peak_bytes_ = std::max(peak_bytes_, in_use_bytes_);
}

void planning_device::give_back(std::size_t size_bytes) {
  const std::lock_guard lock(mutex_);
  --classes_[memory_pool::rounded_size(size_bytes)].in_use;
  in_use_bytes_ -= size_bytes;
}

memory_usage planning_device::memory() const {
  const std::lock_guard lock(mutex_);
  memory_usage usage{in_use_bytes_, peak_bytes_, 0};
  for (const auto& [rounded, blocks] : classes_)
    usage.reserved_bytes += blocks.peak * (as_.is_host ? blocks.size_bytes_max : rounded);
  return usage;
}

}  // namespace troupe
