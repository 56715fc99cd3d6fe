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

}  // namespace troupe
