#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

namespace troupe {

/// A keeper holds the last cut, and the one before it while that may still be the last that all shards can return to.
inline constexpr std::size_t kept_cuts_max = 2;

/// Which cuts are in memory, by shard, as far as the coordinator has heard: the one a shard holds itself, by handle,
/// those of its keeper, and at first one that outlived the last head. Of one past: what lies after a step that the job went back to is forgotten.
class kept_cuts {
 public:
  explicit kept_cuts(std::uint32_t shards) : shards_(shards) {}

  void note_own(std::uint32_t shard, std::optional<std::uint64_t> step) { shards_[shard].own = step; }
  void note_kept(std::uint32_t shard, std::uint64_t step);
  void forget_keeper(std::uint32_t shard) { shards_[shard].kept.clear(); }
  void note_survives(std::uint32_t shard, std::optional<std::uint64_t> step) { shards_[shard].survives = step; }
  void forget_before(std::uint64_t step);
  void forget_after(std::uint64_t step);

  bool has_own(std::uint32_t shard, std::uint64_t step) const { return shards_[shard].own == step; }
  bool is_kept(std::uint32_t shard, std::uint64_t step) const { return shards_[shard].kept.count(step) > 0; }
  bool survives(std::uint32_t shard, std::uint64_t step) const { return shards_[shard].survives == step; }
  /// By the keeper of this shard.
  std::optional<std::uint64_t> newest_kept(std::uint32_t shard) const;
  /// Which all shards can return to from memory.
  std::optional<std::uint64_t> newest_of_all() const;

 private:
  struct holdings {
    std::optional<std::uint64_t> own;
    std::set<std::uint64_t> kept;
    std::optional<std::uint64_t> survives;
  };

  std::vector<holdings> shards_;
};

}  // namespace troupe
