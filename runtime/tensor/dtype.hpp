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
  explicit bfloat16(float value) noexcept;
  explicit operator float() const noexcept {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};

/// IEEE 754 binary16.
struct float16 {
  std::uint16_t bits = 0;

  float16() = default;
  /// Rounds to nearest, ties to even; overflow gives infinity.
  explicit float16(float value) noexcept;
  explicit operator float() const noexcept;
};

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
