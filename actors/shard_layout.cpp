#include "actors/shard_layout.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "runtime/error.hpp"

namespace troupe {

namespace {

/// Cuts greedily so that no range exceeds `limit` elements and at least one parameter is left for each later range.
/// Returns the bounds; too many of them where `limit` is too small.
std::vector<std::size_t> cut_at(const parameter_space& space, std::uint32_t shards, std::int64_t limit) {
  std::vector<std::size_t> bounds{0};
  std::int64_t load = 0;
  for (std::size_t i = 0; i < space.size(); ++i) {
    const auto still_to_open = shards - std::min<std::size_t>(shards, bounds.size());
    const bool rest_needs_one_each = space.size() - i <= still_to_open;
    if (i > bounds.back() && (load + space[i].count() > limit || rest_needs_one_each)) {
      bounds.push_back(i);
      load = 0;
    }
    load += space[i].count();
  }
  bounds.push_back(space.size());
  return bounds;
}

}  // namespace

shard_layout::shard_layout(const parameter_space& space, std::uint32_t shards) {
  if (shards == 0 || shards > space.size())
    throw input_error(fmt::format("runtime.shards = {}: a shard owns whole parameters, and this model has {}; choose 1 to {}",
                                  shards, space.size(), space.size()));
  std::int64_t low = 0;
  for (const auto& each : space)
    low = std::max(low, each.count());
  auto high = space.count();
  while (low < high) {
    const auto middle = low + (high - low) / 2;
    if (cut_at(space, shards, middle).size() - 1 <= shards)
      high = middle;
    else
      low = middle + 1;
  }
  bounds_ = cut_at(space, shards, low);

  for (std::uint32_t shard = 0; shard < shard_count(); ++shard) {
    for (std::size_t i = first(shard); i < last(shard);) {
      const auto block = space[i].block;
      const auto begin = i;
      while (i < last(shard) && space[i].block == block)
        ++i;
      pieces_.push_back({shard, block, begin, i});
    }
  }
}

}  // namespace troupe
