#include "runtime/tensor/shape.hpp"

#include <fmt/ranges.h>

namespace troupe {

std::string to_string(const shape& value) {
  return fmt::format("{}", value.extents());
}

}  // namespace troupe
