#pragma once

/// Which node each actor of a job lives on. A pure function: the same nodes, demands and present placement give the
/// same answer, in whatever order the nodes are listed.
///
///   const auto next = place(nodes, demands, present, placement_mode::repair);
///   if (!next) ... next.problem says why
///
/// Shards spread by bytes. Lanes spread by the time that a node takes for a step: a lane runs at the node's speed as
/// long as there are cores for all, and shares them beyond that, so that the time is
///
///   max(1, cores asked for / cores there) / speed
///
/// and the slowest node sets the pace. Speeds are measured (measured_speeds.hpp), and two measurements of one machine differ: times within
/// a quarter of each other, counted from the fastest node's, are alike, and among alike nodes lanes spread by
/// cores asked for / (cores there * speed). The evaluator goes where it, as one lane more, disturbs least.
///
/// A keeper holds in memory what its shard could be started from again: it lives on another node than the shard, where
/// it finds the fewest bytes, among equals on the next by number after the shard's. Where there is no such node, or no
/// memory left, the job does without that keeper. A shard that lost its node goes to its keeper's, where it fits.
///
/// Balanced means:
/// - shards: no node carries more bytes than another plus the smallest shard of its own;
/// - lanes: no lane would do well to move alone, where "well" is a tenth less time or load than where it is. Where
///   all lanes ask for as many cores, the slowest node takes at most 1.25 times as long as in the best of placements.
/// Both hold as far as memory leaves a choice. Fresh placements and rebalanced ones are balanced.

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "runtime/transport/parcel.hpp"

namespace troupe {

/// Stands in a placement for "not placed".
inline constexpr node_id no_node = std::numeric_limits<node_id>::max();

struct placement_node {
  node_id id = head_node;
  double cores = 1.0;               ///< above 0
  std::uint64_t memory_bytes = 0;   ///< for the actors of jobs; 0: unknown, which counts as enough
  double speed = 1.0;               ///< of one core, relative to others; above 0
  bool accepts_work = true;         ///< false: it is leaving, or never offered any
};

/// What one lane, with its replica and loader, or the evaluator needs.
struct compute_demand {
  double cores = 1.0;               ///< above 0
  std::uint64_t memory_bytes = 0;
};

struct placement_demands {
  std::vector<std::uint64_t> shard_bytes;   ///< of memory: parameters and the optimizer's state
  std::vector<compute_demand> lanes;
  std::optional<compute_demand> evaluator;
  std::vector<std::uint64_t> keeper_bytes;  ///< by shard; empty: no keepers are wanted
};

/// By index of shard and lane. A lane's loader lives beside its replica.
struct placement {
  std::vector<node_id> shards;
  std::vector<node_id> lanes;
  node_id evaluator = no_node;
  std::vector<node_id> keepers;  ///< by shard; no_node: it has none

  friend bool operator==(const placement&, const placement&) = default;
};

enum class placement_mode : std::uint8_t {
  /// Whoever stands on a node that accepts work stays there, a keeper beside its shard, too; the others are placed one by
  /// one where they weigh least.
  repair,
  /// Repairs, then moves one after the other until all is balanced: nothing where it is already. Memory that is
  /// overcommitted is relieved; where that fails piecemeal, everything is placed afresh. A keeper beside its shard moves.
  rebalance,
};

struct placement_result {
  placement where;
  std::string problem;  ///< why there is no placement, for people; then `where` is empty

  explicit operator bool() const noexcept { return problem.empty(); }
};

/// `present` may be shorter than the demands and may name nodes that are gone. Ids of nodes are distinct.
///
/// Memory is packed largest first, which may miss a tight fit that exists. Repair leaves the settled where they are
/// even where they exceed a node's memory, but adds nothing there.
placement_result place(std::vector<placement_node> nodes, const placement_demands& demands, const placement& present,
                       placement_mode mode);

/// How long a step of these lanes takes at these places: the slowest node's time, in the unit of above. Infinite where one
/// of them lives on none of these nodes, or none lives anywhere.
double step_time(const std::vector<placement_node>& nodes, const std::vector<compute_demand>& lanes,
                 const std::vector<node_id>& where);

}  // namespace troupe
