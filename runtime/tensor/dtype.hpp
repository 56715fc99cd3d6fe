#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace troupe {

/// Element types. Values are part of the checkpoint format: never renumber.
enum class dtype : std::uint8_t {
  float32 = 0,
  float64 = 1,
  bfloat16 = 2,
  float16 = 3,
  int64 = 4,
  int32 = 5,
  uint16 = 6,
  uint8 = 7,
};

/// Size of one element in bytes.
constexpr std::size_t size_bytes(dtype type) noexcept {
  switch (type) {
    case dtype::float64:
    case dtype::int64:
      return 8;
    case dtype::float32:
    case dtype::int32:
      return 4;
    case dtype::bfloat16:
    case dtype::float16:
    case dtype::uint16:
      return 2;
    case dtype::uint8:
      return 1;
  }
  return 0;
}

/// The type's name as it stands in run files and manifests, such as "float32".
std::string_view to_string(dtype type) noexcept;

/// The reverse of `to_string`; nothing where the name is unknown.
std::optional<dtype> dtype_from_string(std::string_view name) noexcept;

/// The upper half of a float32: 8 exponent bits, 7 mantissa bits.
struct bfloat16 {
  std::uint16_t bits = 0;

  bfloat16() = default;
  /// Rounds to nearest, ties to even; NaN stays NaN.
  explicit constexpr bfloat16(float value) noexcept;
  explicit constexpr operator float() const noexcept {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};

/// IEEE 754 binary16.
struct float16 {
  std::uint16_t bits = 0;

  float16() = default;
  /// Rounds to nearest, ties to even; overflow gives infinity.
  explicit constexpr float16(float value) noexcept;
  explicit constexpr operator float() const noexcept;
};

// Here and constexpr so that devices which compile kernels of their own convert by the same code.

constexpr bfloat16::bfloat16(float value) noexcept {
  const auto word = std::bit_cast<std::uint32_t>(value);
  if ((word & 0x7fffffff) > 0x7f800000)
    bits = static_cast<std::uint16_t>(word >> 16 | 0x0040);  // rounding could carry a NaN over to infinity
  else
    bits = static_cast<std::uint16_t>((word + 0x7fff + (word >> 16 & 1)) >> 16);
}

constexpr float16::float16(float value) noexcept {
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

constexpr float16::operator float() const noexcept {
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t exponent = bits >> 10 & 0x1f;
  const std::uint32_t mantissa = bits & 0x3ff;
  if (exponent == 0)
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(static_cast<float>(mantissa) * 0x1p-24f));
  const std::uint32_t wide_exponent = exponent == 0x1f ? 0xff : exponent + 112;
  return std::bit_cast<float>(sign | wide_exponent << 23 | mantissa << 13);
}

/// Maps a C++ type to its dtype: `dtype_of<float> == dtype::float32`.
template <class T>
inline constexpr dtype dtype_of = [] { static_assert(sizeof(T) == 0, "not an element type"); return dtype{}; }();
template <> inline constexpr dtype dtype_of<float> = dtype::float32;
template <> inline constexpr dtype dtype_of<double> = dtype::float64;
template <> inline constexpr dtype dtype_of<bfloat16> = dtype::bfloat16;
template <> inline constexpr dtype dtype_of<float16> = dtype::float16;
template <> inline constexpr dtype dtype_of<std::int64_t> = dtype::int64;
template <> inline constexpr dtype dtype_of<std::int32_t> = dtype::int32;
template <> inline constexpr dtype dtype_of<std::uint16_t> = dtype::uint16;
template <> inline constexpr dtype dtype_of<std::uint8_t> = dtype::uint8;

}  // namespace troupe
