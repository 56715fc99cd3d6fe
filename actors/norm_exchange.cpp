#include "actors/norm_exchange.hpp"

namespace troupe {

void norm_exchange::restart() {
  parts_.clear();
  own_.clear();
}

void norm_exchange::add_own(const norm_part& part) {
  add(part);
  own_.push_back(part);
  if (own_.size() > norm_parts_kept)
    own_.erase(own_.begin());
}

std::optional<std::vector<numbers>> norm_exchange::squares(std::uint64_t step) const {
  const auto found = parts_.find(step);
  if (found == parts_.end() || found->second.size() < shards_)
    return {};
  std::vector<numbers> all;
  for (const auto& [shard, squares] : found->second)
    all.push_back(squares);
  return all;
}

}  // namespace troupe
