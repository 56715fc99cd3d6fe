#include "actors/held_part.hpp"

namespace troupe {

namespace {

/// Over the elements of all tensors, in their order.
checksum sum_of(const shard_snapshot& part) {
  running_checksum sum;
  for (const auto& each : part.tensors)
    sum.add({each.value.bytes(), each.value.size_bytes()});
  return sum.value();
}

}  // namespace

held_part hold(const cut_id& cut, shard_snapshot part) {
  const auto sum = sum_of(part);
  return {cut, std::move(part), sum};
}

bool is_intact(const held_part& held) { return sum_of(held.part) == held.sum; }

}  // namespace troupe
