#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "actors/parameter_shard.hpp"

namespace troupe {

/// The parts of a gradient's norm that shards send each other, of which all are needed before any shard updates. A
/// shard that takes over for another may still need those of the step before the one at which the others are: a shard
/// sends its part of a step only when its backup has all that came before, so that the last two parts of each are
/// enough.
class norm_exchange {
 public:
  explicit norm_exchange(std::uint32_t shards) : shards_(shards) {}

  void restart();
  /// Of this shard or another; what comes twice is the same.
  void add(const norm_part& part) { parts_[part.step][part.shard] = part.squares; }
  /// This shard's own, about to be sent.
  void add_own(const norm_part& part);
  const std::vector<norm_part>& own() const noexcept { return own_; }
  /// Of all shards, in order of the space, so that their sum does not depend on the number of shards.
  std::optional<std::vector<numbers>> squares(std::uint64_t step) const;
  void forget_before(std::uint64_t step) { parts_.erase(parts_.begin(), parts_.lower_bound(step)); }

 private:
  std::uint32_t shards_;
  std::map<std::uint64_t, std::map<std::uint32_t, numbers>> parts_;  // by step, shard
  std::vector<norm_part> own_;  // the last two
};

}  // namespace troupe
