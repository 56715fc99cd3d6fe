#include "kernel_run.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

namespace troupe::tests {

namespace {

constexpr std::size_t band_bytes = 256;
constexpr std::byte band_mark{0xa5};

/// Host memory of `values` as elements of `type`.
std::vector<std::byte> encode(const std::vector<double>& values, dtype type) {
  std::vector<std::byte> bytes(values.size() * size_bytes(type));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto put = [&](auto value) { std::memcpy(&bytes[i * sizeof value], &value, sizeof value); };
    switch (type) {
      case dtype::float64: put(values[i]); break;
      case dtype::float32: put(static_cast<float>(values[i])); break;
      case dtype::bfloat16: put(bfloat16(static_cast<float>(values[i]))); break;
      case dtype::int32: put(static_cast<std::int32_t>(values[i])); break;
      default: FAIL("no case of this type: " << to_string(type));
    }
  }
  return bytes;
}

std::vector<double> decode(const std::vector<std::byte>& bytes, dtype type) {
  std::vector<double> values(bytes.size() / size_bytes(type));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto get = [&](auto value) {
      std::memcpy(&value, &bytes[i * sizeof value], sizeof value);
      return value;
    };
    switch (type) {
      case dtype::float64: values[i] = get(double{}); break;
      case dtype::float32: values[i] = get(float{}); break;
      case dtype::bfloat16: values[i] = static_cast<float>(get(bfloat16{})); break;
      default: values[i] = get(std::int32_t{});
    }
  }
  return values;
}

/// What an argument, or its gradient, is made of on a stream.
dtype type_of(const argument& arg, bool gradient, const stream& on) {
  if (arg.is_integer)
    return dtype::int32;
  if (arg.is_double)
    return dtype::float64;
  return (gradient ? arg.gradient_is_accumulated : arg.is_accumulated) ? on.accumulation_type() : on.compute_type();
}

/// A tensor between two bands of marked bytes.
class banded_tensor {
 public:
  banded_tensor(stream& on, dtype type, shape extents, const std::vector<double>& values, std::size_t seed)
      : type_(type), placed_(encode(values, type)), before_bytes_(band_bytes + seed % 23 * size_bytes(type)) {
    const std::size_t all_bytes = before_bytes_ + placed_.size() + band_bytes;
    const tensor host = make_host_tensor(dtype::uint8, {static_cast<std::int64_t>(all_bytes)});
    const auto to = std::as_writable_bytes(host.mutable_elements<std::uint8_t>());
    std::ranges::fill(to, band_mark);
    std::ranges::copy(placed_, to.begin() + static_cast<std::ptrdiff_t>(before_bytes_));
    whole_ = on.to_device(host);
    view_ = tensor(whole_.owner(), before_bytes_, type, extents);
  }

  const tensor& view() const { return view_; }
  dtype type() const { return type_; }

  /// The tensor's bytes now; checks the bands.
  std::vector<std::byte> read(stream& on) const {
    const tensor host = on.to_host(whole_);
    const auto all = std::as_bytes(host.elements<std::uint8_t>());
    const auto is_marked = [](std::byte b) { return b == band_mark; };
    if (!std::ranges::all_of(all.first(before_bytes_), is_marked) ||
        !std::ranges::all_of(all.last(band_bytes), is_marked))
      FAIL_CHECK("a kernel wrote beside a tensor");
    const auto inner = all.subspan(before_bytes_, placed_.size());
    return {inner.begin(), inner.end()};
  }

  bool is_unchanged(stream& on) const { return read(on) == placed_; }

 private:
  dtype type_;
  std::vector<std::byte> placed_;
  std::size_t before_bytes_;
  tensor whole_;
  tensor view_;
};

/// The tensors of one pass, or their gradients; two slots may be one tensor.
class placement {
 public:
  placement(stream& on, std::size_t count, bool gradients = false)
      : on_(on), gradients_(gradients), placed_(count), views_(count) {}

  void put(std::size_t index, const argument& like, const std::vector<double>& values) {
    set(index, std::make_shared<banded_tensor>(on_, type_of(like, gradients_, on_), like.extents, values,
                                               like.begins_anywhere ? index * 5 + values.size() : 0));
  }
  void put_poison(std::size_t index, const argument& like) {
    put(index, like, std::vector<double>(static_cast<std::size_t>(like.extents.count()),
                                         std::numeric_limits<double>::quiet_NaN()));
  }
  void share(std::size_t index, slot other) { set(index, placed_[other.index]); }

  const tensors& views() const { return views_; }
  bool is_shared(std::size_t index) const { return placed_[index].use_count() > 1; }
  bool is_unchanged(std::size_t index) const { return placed_[index]->is_unchanged(on_); }

  written read(std::size_t index) const {
    std::vector<std::byte> bytes = placed_[index]->read(on_);
    std::vector<double> values = decode(bytes, placed_[index]->type());
    return {index, std::move(values), std::move(bytes)};
  }

 private:
  void set(std::size_t index, std::shared_ptr<banded_tensor> what) {
    placed_[index] = std::move(what);
    views_.at(index) = placed_[index]->view();
  }

  stream& on_;
  bool gradients_;
  std::vector<std::shared_ptr<banded_tensor>> placed_;
  tensors views_;
};

}  // namespace

std::vector<written> run_forward(const kernel_case& k, stream& on) {
  placement t(on, k.arguments.size());
  for (std::size_t i = 0; i < k.arguments.size(); ++i) {
    const argument& arg = k.arguments[i];
    if (arg.shares)
      t.share(i, arg.shares);
    else if (arg.is_written() && arg.role != role::updated)
      t.put_poison(i, arg);
    else
      t.put(i, arg, arg.values);
  }
  k.forward(on, t.views());
  on.synchronize();
  std::vector<written> results;
  for (std::size_t i = 0; i < k.arguments.size(); ++i) {
    if (k.arguments[i].is_written())
      results.push_back(t.read(i));
    else if (!t.is_shared(i) && !t.is_unchanged(i))
      FAIL_CHECK("the forward pass wrote into its input " << i);
  }
  return results;
}

std::vector<written> run_backward(const kernel_case& k, stream& on) {
  placement t(on, k.arguments.size()), d(on, k.arguments.size(), true);
  for (std::size_t i = 0; i < k.arguments.size(); ++i) {
    const argument& arg = k.arguments[i];
    t.put(i, arg, arg.values);
    if (!arg.gradient.empty())
      d.put(i, arg, arg.gradient);
    else if (arg.role == role::input && !arg.gradient_shares)
      d.put_poison(i, arg);
  }
  for (std::size_t i = 0; i < k.arguments.size(); ++i)
    if (k.arguments[i].gradient_shares)
      d.share(i, k.arguments[i].gradient_shares);
  k.backward(on, t.views(), d.views());
  on.synchronize();
  std::vector<written> results;
  for (std::size_t i = 0; i < k.arguments.size(); ++i) {
    const argument& arg = k.arguments[i];
    if (arg.has_gradient())
      results.push_back(d.read(i));
    else if (arg.role == role::output && !d.is_shared(i) && !d.is_unchanged(i))
      FAIL_CHECK("the backward pass wrote into the gradient of its output " << i);
    if (!arg.is_written() && !t.is_unchanged(i))
      FAIL_CHECK("the backward pass wrote into its input " << i);
  }
  return results;
}

void complete(kernel_case& k, const stream& on) {
  const auto reference = reference_device().make_stream({});
  for (written& result : run_forward(k, *reference)) {
    argument& arg = k.arguments[result.argument];
    const dtype type = type_of(arg, false, on);
    if (arg.role != role::updated)
      arg.values = decode(encode(result.values, type), type);
  }
}

namespace {

/// Makes the case's values what the stream's types can hold.
void round_values(kernel_case& k, const stream& on) {
  for (argument& arg : k.arguments)
    for (const bool gradient : {false, true}) {
      auto& values = gradient ? arg.gradient : arg.values;
      const dtype type = type_of(arg, gradient, on);
      values = decode(encode(values, type), type);
    }
}

void check_same(const kernel_case& k, const std::vector<written>& actual, const std::vector<written>& expected,
                bool backward) {
  REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const argument& arg = k.arguments[actual[i].argument];
    const std::vector<double> none;
    const std::vector<double>& before = backward && arg.role == role::parameter ? arg.gradient : none;
    CAPTURE(backward);
    CAPTURE(actual[i].argument);
    CAPTURE(to_string(arg.extents));
    CHECK(relative_error(actual[i].values, expected[i].values, before) < arg.tolerance);
  }
}

}  // namespace

void check_agreement(kernel_case k, stream& fast, double tolerance_min) {
  round_values(k, fast);
  for (argument& arg : k.arguments)
    arg.tolerance = std::max(arg.tolerance, tolerance_min);
  const auto reference = reference_device().make_stream({});
  check_same(k, run_forward(k, fast), run_forward(k, *reference), false);
  if (!k.backward)
    return;
  complete(k, fast);
  check_same(k, run_backward(k, fast), run_backward(k, *reference), true);
}

void check_great_scores(stream& fast) {
  const auto reference = reference_device().make_stream({});
  for_each_case(scale::medium, 4, [&](const std::string& name, kernel_case k) {
    if (name != "attention" && name != "attention_cached" && name != "linear_cross_entropy")
      return;
    for (double& value : k.arguments.front().values)
      value *= 100;
    round_values(k, fast);
    for (argument& arg : k.arguments)
      arg.tolerance = 1e-2;  // the scores' rounding errors are magnified as they are
    check_same(k, run_forward(k, fast), run_forward(k, *reference), false);
  });
}

double relative_error(const std::vector<double>& actual, const std::vector<double>& expected,
                      const std::vector<double>& before) {
  REQUIRE(actual.size() == expected.size());
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    const double change = expected[i] - (before.empty() ? 0 : before[i]);
    size += change * change;
  }
  return difference == 0 ? 0 : std::sqrt(difference / size);
}

}  // namespace troupe::tests
