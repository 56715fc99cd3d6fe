#include "models/data/content_hash.hpp"

#include <fmt/format.h>

namespace troupe {

std::string to_string(const digest& value) {
  return fmt::format("{:016x}{:016x}", value[0], value[1]);
}

}  // namespace troupe
