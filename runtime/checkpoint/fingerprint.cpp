#include "runtime/checkpoint/fingerprint.hpp"

#include "runtime/checkpoint/checksum.hpp"

namespace troupe {

std::string fingerprint(std::span<const tensor> values) {
  running_checksum sum;
  for (const auto& value : values)
    sum.add({value.bytes(), value.size_bytes()});
  return to_string(sum.value());
}

}  // namespace troupe
