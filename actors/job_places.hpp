#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "actors/role.hpp"
#include "runtime/transport/parcel.hpp"

namespace troupe {

/// Who holds a part of the cut that all shards had in memory when the last head was lost.
struct survivor {
  std::uint32_t shard = 0;
  caf::actor holder;  ///< takes fetch_cut (surviving_cuts.hpp)
};

/// Where the actors of a job live, as its coordinator needs to know it: all in this process, or on the nodes of a
/// cluster. The functions are called on threads of supervisors and of the coordinator.
struct job_places {
  role_spawner spawn;
  /// Decides anew who lives where; names those who must move. Absent where there is one place only.
  std::function<std::vector<std::string>()> rebalance;
  /// A lane computed a step where it lives, in that many seconds. Absent, as the next, where there is one place only.
  std::function<void(std::uint32_t lane, double seconds)> note_step;
  /// By what factor a step would be shorter if lanes were spread by what nodes did since this was asked last.
  std::function<double(std::chrono::steady_clock::time_point now)> look_at_speeds;
  /// Where each shard has a keeper: names those that are not (any more) on another node than their shards, or on one
  /// that leaves, and must move. Absent where there is one place only: there a keeper would go down with its shard.
  std::function<std::vector<std::string>()> settle_keepers;
  /// "node 2"; empty where there is one place only.
  std::function<std::string(const std::string& actor)> describe;
  caf::actor membership;  ///< empty where there is one place only
  /// Starts those who hold what `coordinator` may go on from. Absent where there is one place only.
  std::function<std::vector<survivor>(const caf::actor& coordinator, std::uint64_t incarnation)> survivors;
};

/// Everybody in this process.
inline job_places everybody_here(job_context_ptr context) {
  job_places places;
  places.spawn = spawn_here(std::move(context));
  return places;
}

}  // namespace troupe
