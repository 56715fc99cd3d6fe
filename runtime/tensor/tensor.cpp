#include "runtime/tensor/tensor.hpp"

#include <fmt/format.h>

namespace troupe {

std::string describe(const tensor& value) {
  return fmt::format("{}{}", to_string(value.type()), to_string(value.shape()));
}

tensor make_host_tensor(dtype type, shape extents) {
  const auto bytes = static_cast<std::size_t>(extents.count()) * size_bytes(type);
  return {make_host_buffer(bytes), 0, type, extents};
}

}  // namespace troupe
