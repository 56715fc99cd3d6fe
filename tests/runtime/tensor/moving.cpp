// Streams, copies and casts, on every device under test.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "devices_under_test.hpp"

namespace troupe::tests {

namespace {

template <class T>
tensor host_tensor(const std::vector<float>& values) {
  const tensor made = make_host_tensor(dtype_of<T>, {std::ssize(values)});
  for (std::size_t i = 0; i < values.size(); ++i)
    made.mutable_data<T>()[i] = T(values[i]);
  return made;
}

/// All patterns of a 16-bit type to a wider one and back: the same, but for NaN, which stays NaN.
template <class Narrow>
void check_all_patterns(stream& s) {
  const tensor in = make_host_tensor(dtype_of<Narrow>, {65536});
  for (std::uint32_t bits = 0; bits < 65536; ++bits)
    in.mutable_data<Narrow>()[bits].bits = static_cast<std::uint16_t>(bits);
  const tensor wide = s.allocate(s.compute_type(), in.shape()), back = s.allocate(in.type(), in.shape());
  s.cast(s.to_device(in), wide);
  s.cast(wide, back);
  const tensor host = s.to_host(back);
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const Narrow before = in.data<Narrow>()[bits], after = host.data<Narrow>()[bits];
    const bool both_nan = std::isnan(static_cast<float>(before)) && std::isnan(static_cast<float>(after));
    if (before.bits != after.bits && !both_nan)
      FAIL_CHECK(to_string(in.type()) << " pattern " << bits << " came back as " << after.bits);
  }
}

/// Values over the range of float16, at a count that leaves a remainder for any width of vectors.
std::vector<float> sample_values() {
  std::vector<float> values{0.0f, -0.0f, 1.0f, 65504.0f, 1e-7f, INFINITY, -INFINITY};
  for (int i = 0; i < 1000; ++i)
    values.push_back(std::ldexp(1 + static_cast<float>(i % 97) / 97, i % 37 - 24) * (i % 2 == 0 ? 1.0f : -1.0f));
  return values;
}

template <class From, class To>
void check_cast(stream& s) {
  const tensor in = host_tensor<From>(sample_values());
  const tensor out = s.allocate(dtype_of<To>, in.shape());
  s.cast(s.to_device(in), out);
  const tensor back = s.to_host(out);
  for (std::int64_t i = 0; i < in.count(); ++i) {
    const To expected(static_cast<float>(in.data<From>()[i]));
    if (std::memcmp(&expected, &back.data<To>()[i], sizeof expected) != 0)
      FAIL_CHECK(to_string(dtype_of<From>) << " to " << to_string(dtype_of<To>) << ", element " << i);
  }
}

}  // namespace

TEST_CASE("devices are found by name") {
  for (device* const each : devices_under_test())
    CHECK(&find_device(each->name()) == each);
  CHECK(cpu_device().name() == "cpu");
  CHECK_THROWS_WITH_AS(find_device("gpu"), doctest::Contains("reference"), std::invalid_argument);
}

TEST_CASE("casts convert each element as its type does") {
  for (device* const each : devices_under_test()) {
    CAPTURE(each->name());
    const auto s = each->make_stream({});
    const auto from = [&]<class From>(From) {
      check_cast<From, float>(*s);
      check_cast<From, double>(*s);
      check_cast<From, bfloat16>(*s);
      check_cast<From, float16>(*s);
    };
    from(float{});
    from(double{});
    from(bfloat16{});
    from(float16{});
    check_all_patterns<bfloat16>(*s);
    check_all_patterns<float16>(*s);
  }
}

TEST_CASE("stochastic rounding draws the words that every device draws") {
  const random_key key{17, 4};
  const std::vector<float> values = sample_values();
  for (device* const each : devices_under_test()) {
    CAPTURE(each->name());
    const auto s = each->make_stream({});
    const tensor host = host_tensor<float>(values);
    const tensor in = s->allocate(s->accumulation_type(), host.shape()), out = s->allocate(dtype::bfloat16, host.shape());
    s->cast(s->to_device(host), in);
    s->round_stochastic(key, in, out);
    const tensor found = s->to_host(out);
    for (std::size_t i = 0; i < values.size(); ++i)
      if (found.data<bfloat16>()[i].bits != round_stochastic(values[i], random_word(key, i)).bits)
        FAIL_CHECK("element " << i);
  }
}

TEST_CASE("zero and copy treat all bytes and no others") {
  for (device* const each : devices_under_test()) {
    CAPTURE(each->name());
    const auto s = each->make_stream({.threads = 2});
    const std::int64_t count = 600003;  // more than one thread takes at a time
    const tensor whole = s->to_device(host_tensor<float>(std::vector<float>(count, 5.0f)));
    s->zero(whole.slice(1, {count - 3}));
    const tensor copied = s->allocate(dtype::float32, {count});
    s->copy(whole, copied);
    const tensor back = s->to_host(copied);
    std::vector<float> expected(count, 0.0f);
    expected.front() = expected[count - 2] = expected[count - 1] = 5.0f;
    CHECK(std::ranges::equal(back.elements<float>(), expected));
  }
}

TEST_CASE("a stream waits for what another recorded") {
  for (device* const each : devices_under_test()) {
    CAPTURE(each->name());
    const auto first = each->make_stream({}), second = each->make_stream({});
    const tensor x = first->to_device(host_tensor<float>(std::vector<float>(5000, 3.0f)));
    const tensor a = first->allocate(dtype::float32, x.shape()), b = second->allocate(dtype::float32, x.shape());
    first->copy(x, a);
    second->wait(*first->record());
    second->copy(a, b);
    const tensor back = second->to_host(b);
    CHECK(back.data<float>()[0] == 3.0f);
    CHECK(back.data<float>()[4999] == 3.0f);
  }
}

TEST_CASE("a device counts the memory it has handed out") {
  for (device* const each : devices_under_test()) {
    CAPTURE(each->name());
    const auto s = each->make_stream({});
    const std::size_t before = each->memory().in_use_bytes;
    {
      const tensor held = s->allocate(dtype::float32, {100000});
      CHECK(each->memory().in_use_bytes >= before + 400000);
      CHECK(each->memory().peak_bytes >= before + 400000);
    }
    CHECK(each->memory().in_use_bytes == before);
  }
}

}  // namespace troupe::tests
