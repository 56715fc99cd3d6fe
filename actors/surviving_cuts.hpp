#pragma once

/// Parts of cuts that outlive the loss of a job's head. A node whose head is gone ends its actors, and shards and
/// keepers leave here, by handle, what they hold of cuts. When the node joins the next head of the same run, which names
/// the cut that all shards had in memory, it says of which shards it has a part, and an actor, the survivor, gives it
/// to the shards that the coordinator sends:
///
///     head         --prepare_job-->    agent        which run this is, and which cut
///     agent        --node_prepared-->  membership   of which shards there is a part here
///     coordinator  --restore_shard-->  shard        go on from what the survivor there has
///     shard        --fetch_cut-->      survivor
///     survivor     --kept_part-->      shard
///     coordinator  --cut_restored-->   membership   the job goes on without it
///     membership   --forget_kept-->    agent
///
/// What is here takes no more memory than the shards and keepers took that left it, though until all shards are restored
/// it stands beside what new ones take. It goes then, or as soon as another cut or another run is asked for, and with the
/// process, which looks for a head for a stated time.

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "actors/keeper.hpp"
#include "runtime/cluster/protocol.hpp"

namespace troupe {

/// Of one process, whatever cluster it is a member of. Thread safe.
class surviving_cuts {
 public:
  /// From now on this process serves the job of `which`; drops what is not of that cut of it.
  void serve(const inheritance& which);
  /// The newest kept_cuts_max of each shard stay.
  void leave(std::uint32_t shard, held_part part);
  /// Of the cut that was named to serve(), unless another was left since.
  std::optional<held_part> find(std::uint32_t shard, std::uint64_t step) const;
  /// Shards, each once.
  std::vector<std::uint32_t> shards() const;
  void clear();

 private:
  mutable std::mutex mutex_;
  std::string run_;
  std::map<std::uint32_t, std::map<cut_id, held_part>> parts_;
};

using survivor_actor = caf::typed_actor<caf::reacts_to<fetch_cut>>;

/// Gives what this process holds; ends with the coordinator that it was spawned for.
caf::actor spawn_survivor(caf::actor_system& system, job_context_ptr context, caf::actor coordinator);

}  // namespace troupe
