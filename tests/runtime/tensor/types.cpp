#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "runtime/tensor/tensor.hpp"

namespace troupe::tests {

namespace {

/// What a 16-bit float means, by the definition of its format.
double meaning(std::uint16_t bits, int exponent_bits) {
  const int mantissa_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1)
    return mantissa != 0 ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  const int hidden = exponent == 0 ? 0 : 1 << mantissa_bits;
  return sign * std::ldexp(hidden + mantissa, std::max(exponent, 1) - bias - mantissa_bits);
}

template <class T>
T from_bits(std::uint16_t bits) {
  T value;
  value.bits = bits;
  return value;
}

/// All 65536 patterns: widening means what the format says, narrowing back gives the pattern; between each pattern and
/// the next, values round to the nearer, and a tie to the even one.
template <class T, int exponent_bits>
void check_all_patterns() {
  const std::uint16_t infinity = static_cast<std::uint16_t>(((1 << exponent_bits) - 1) << (15 - exponent_bits));
  for (std::uint32_t pattern = 0; pattern < 65536; ++pattern) {
    const auto bits = static_cast<std::uint16_t>(pattern);
    const auto wide = static_cast<float>(from_bits<T>(bits));
    const double expected = meaning(bits, exponent_bits);
    if (std::isnan(expected)) {
      if (!std::isnan(wide) || !std::isnan(static_cast<float>(T(wide))))
        FAIL_CHECK("NaN " << bits << " did not stay NaN");
      continue;
    }
    if (wide != expected || std::signbit(wide) != std::signbit(expected) || T(wide).bits != bits)
      FAIL_CHECK("pattern " << bits << " became " << wide << " and then " << T(wide).bits);
    if ((bits & 0x7fff) == infinity)
      continue;
    // Past the greatest finite value the next step is where infinity begins.
    const auto next_bits = static_cast<std::uint16_t>(bits + 1);
    const bool last = (next_bits & 0x7fff) == infinity;
    const double next = last ? 2 * expected - meaning(static_cast<std::uint16_t>(bits - 1), exponent_bits)
                             : meaning(next_bits, exponent_bits);
    const auto middle = static_cast<float>((expected + next) / 2);
    const std::uint16_t even = bits % 2 == 0 ? bits : next_bits;
    const auto toward = [&](double end) { return std::nextafter(middle, static_cast<float>(end)); };
    if (T(middle).bits != even || T(toward(expected)).bits != bits || T(toward(next)).bits != next_bits)
      FAIL_CHECK("between " << bits << " and " << next_bits << " rounding is wrong");
  }
}

}  // namespace

TEST_CASE("bfloat16 converts all patterns and rounds to nearest, ties to even") {
  check_all_patterns<bfloat16, 8>();
}

TEST_CASE("float16 converts all patterns and rounds to nearest, ties to even") {
  check_all_patterns<float16, 5>();
}

TEST_CASE("16-bit floats overflow to infinity and underflow to zero, with their sign") {
  CHECK(float16(65519.9f).bits == 0x7bff);
  CHECK(float16(65520.0f).bits == 0x7c00);
  CHECK(float16(-1e30f).bits == 0xfc00);
  CHECK(float16(-1e-30f).bits == 0x8000);
  CHECK(bfloat16(std::numeric_limits<float>::max()).bits == 0x7f80);
  CHECK(bfloat16(-std::numeric_limits<float>::denorm_min()).bits == 0x8000);
}

TEST_CASE("types go by the names that files use") {
  for (int value = 0; value < 8; ++value) {
    const auto type = static_cast<dtype>(value);
    CHECK(dtype_from_string(to_string(type)) == type);
    CHECK(size_bytes(type) > 0);
  }
  CHECK(to_string(dtype::bfloat16) == "bfloat16");
  CHECK_FALSE(dtype_from_string("float"));
  CHECK_FALSE(dtype_from_string(""));
}

TEST_CASE("shapes and tensors describe themselves") {
  CHECK(to_string(shape{12, 64, 128}) == "[12, 64, 128]");
  CHECK(to_string(shape{}) == "[]");
  CHECK(shape{}.count() == 1);
  CHECK(shape{3, 0, 5}.count() == 0);
  CHECK(shape{2, 3} != shape{2, 3, 1});
  CHECK(describe(make_host_tensor(dtype::uint16, {2, 3})) == "uint16[2, 3]");
}

}  // namespace troupe::tests
