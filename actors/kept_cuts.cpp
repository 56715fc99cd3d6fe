#include "actors/kept_cuts.hpp"

#include <algorithm>

namespace troupe {

void kept_cuts::note_kept(std::uint32_t shard, std::uint64_t step) {
  auto& kept = shards_[shard].kept;
  kept.erase(kept.lower_bound(step), kept.end());
  kept.insert(step);
  if (kept.size() > kept_cuts_max)
    kept.erase(kept.begin());
}

void kept_cuts::forget_before(std::uint64_t step) {
  for (auto& each : shards_)
    each.kept.erase(each.kept.begin(), each.kept.lower_bound(step));
}

void kept_cuts::forget_after(std::uint64_t step) {
  for (auto& each : shards_) {
    each.kept.erase(each.kept.upper_bound(step), each.kept.end());
    if (each.own > step)
      each.own.reset();
    if (each.survives > step)
      each.survives.reset();
  }
}

std::optional<std::uint64_t> kept_cuts::newest_kept(std::uint32_t shard) const {
  const auto& kept = shards_[shard].kept;
  return kept.empty() ? std::nullopt : std::optional(*kept.rbegin());
}

std::optional<std::uint64_t> kept_cuts::newest_of_all() const {
  auto candidates = shards_.front().kept;
  for (const auto& other : {shards_.front().own, shards_.front().survives})
    if (other)
      candidates.insert(*other);
  for (auto step = candidates.rbegin(); step != candidates.rend(); ++step) {
    bool everywhere = true;
    for (std::uint32_t shard = 0; shard < shards_.size(); ++shard)
      everywhere = everywhere && (has_own(shard, *step) || is_kept(shard, *step) || survives(shard, *step));
    if (everywhere)
      return *step;
  }
  return {};
}

}  // namespace troupe
