#include "runtime/tensor/dtype.hpp"

#include <array>

namespace troupe {

namespace {

/// By value of the enumerator.
constexpr std::array<std::string_view, 8> names{"float32", "float64", "bfloat16", "float16",
                                                "int64",   "int32",   "uint16",   "uint8"};

}  // namespace

std::string_view to_string(dtype type) noexcept {
  return names[static_cast<std::size_t>(type)];
}

std::optional<dtype> dtype_from_string(std::string_view name) noexcept {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i] == name)
      return static_cast<dtype>(i);
  return std::nullopt;
}

bfloat16::bfloat16(float value) noexcept {
  const auto word = std::bit_cast<std::uint32_t>(value);
  if ((word & 0x7fffffff) > 0x7f800000)
    bits = static_cast<std::uint16_t>(word >> 16 | 0x0040);  // rounding could carry a NaN over to infinity
  else
    bits = static_cast<std::uint16_t>((word + 0x7fff + (word >> 16 & 1)) >> 16);
}

float16::float16(float value) noexcept {
  const auto word = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = word >> 16 & 0x8000;
  const std::uint32_t magnitude = word & 0x7fffffff;
  std::uint32_t rounded = 0;
  if (magnitude > 0x7f800000) {
    rounded = 0x7e00 | (magnitude >> 13 & 0x3ff);
  } else if (magnitude >= 0x47800000) {  // 2^16 and more
    rounded = 0x7c00;
  } else if (magnitude >= 0x38800000) {  // 2^-14: normal; a carry out of the mantissa lands in the exponent
    rounded = (magnitude - (112u << 23) + 0x0fff + (magnitude >> 13 & 1)) >> 13;
  } else {
    // Subnormal: adding a half, whose last mantissa bit is worth 2^-24 as theirs is, makes the hardware round.
    const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
    rounded = std::bit_cast<std::uint32_t>(aligned) - std::bit_cast<std::uint32_t>(0.5f);
  }
  bits = static_cast<std::uint16_t>(sign | rounded);
}

float16::operator float() const noexcept {
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t exponent = bits >> 10 & 0x1f;
  const std::uint32_t mantissa = bits & 0x3ff;
  if (exponent == 0)
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(static_cast<float>(mantissa) * 0x1p-24f));
  const std::uint32_t wide_exponent = exponent == 0x1f ? 0xff : exponent + 112;
  return std::bit_cast<float>(sign | wide_exponent << 23 | mantissa << 13);
}

}  // namespace troupe
