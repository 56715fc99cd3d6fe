#include "runtime/tensor/reference/reference_device.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <stdexcept>

#include "runtime/tensor/memory_pool.hpp"

namespace troupe {

namespace reference {

namespace {

class reference_device final : public device {
 public:
  std::string name() const override { return "reference"; }
  bool is_host() const noexcept override { return true; }
  bool supports(precision_kind precision) const noexcept override { return precision != precision_kind::tf32; }
  std::unique_ptr<stream> make_stream(const stream_options& options) override {
    assert(supports(options.precision));
    return std::make_unique<reference_stream>(*this, options.precision == precision_kind::bfloat16);
  }
  tensor allocate(dtype type, shape extents) override {
    const auto bytes = static_cast<std::size_t>(extents.count()) * size_bytes(type);
    return {pool_.allocate(bytes), 0, type, extents};
  }
  memory_usage memory() const override { return pool_.usage(); }
  void trim() override { pool_.trim(); }

 private:
  memory_pool pool_;
};

/// Calls `use` with a null pointer to the element type.
template <class F>
void with_float_type(dtype type, F use) {
  switch (type) {
    case dtype::float32: return use(static_cast<float*>(nullptr));
    case dtype::float64: return use(static_cast<double*>(nullptr));
    case dtype::bfloat16: return use(static_cast<bfloat16*>(nullptr));
    case dtype::float16: return use(static_cast<float16*>(nullptr));
    default: throw std::invalid_argument("cast: " + std::string(to_string(type)) + " is not a floating-point type");
  }
}

}  // namespace

void reference_stream::keep(std::initializer_list<std::reference_wrapper<const tensor>> written) const {
  for (const tensor& each : written)
    if (rounds_ && each)
      for (double& value : each.mutable_elements<double>())
        value = kept(value);
}

event_ptr reference_stream::record() {
  return std::make_shared<event>();
}

void reference_stream::zero(const tensor& out) {
  std::memset(out.mutable_bytes(), 0, out.size_bytes());
}

void reference_stream::copy(const tensor& in, const tensor& out) {
  assert(in.type() == out.type() && in.count() == out.count());
  std::memmove(out.mutable_bytes(), in.bytes(), in.size_bytes());
}

void reference_stream::cast(const tensor& in, const tensor& out) {
  assert(in.count() == out.count());
  with_float_type(in.type(), [&]<class From>(From*) {
    with_float_type(out.type(), [&]<class To>(To*) {
      const std::span<const From> from = in.elements<From>();
      std::transform(from.begin(), from.end(), out.mutable_data<To>(), [](From value) {
        if constexpr (std::is_same_v<From, double>)
          return To(value);
        else
          return To(static_cast<float>(value));
      });
    });
  });
}

void reference_stream::round_stochastic(const random_key& key, const tensor& in, const tensor& out) {
  assert(in.count() == out.count());
  for (std::int64_t i = 0; i < in.count(); ++i)
    out.mutable_data<bfloat16>()[i] = troupe::round_stochastic(static_cast<float>(in.data<double>()[i]),
                                                               random_word(key, static_cast<std::uint64_t>(i)));
}

}  // namespace reference

device& reference_device() {
  // Never destroyed: buffers may outlive every other static object.
  static auto& only = *new reference::reference_device;
  return only;
}

}  // namespace troupe
