#pragma once

/// The replica: computes one lane's forward and backward passes. It keeps nothing that cannot be computed again (P5):
/// a replica that is started anew asks the shards which step its lane owes them, and goes on from there.
///
/// It works block by block and returns to its mailbox between blocks: a block runs forward as soon as its
/// parameters are there, and its gradients leave as soon as its backward pass is done.

#include <cstdint>
#include <vector>

#include <caf/all.hpp>

#include "actors/data_loader.hpp"
#include "actors/job_context.hpp"
#include "actors/parameter_shard.hpp"

namespace troupe {

/// (Re)starts the lane under `epoch`: it asks all shards for the step that is due, and computes up to `limit`.
struct begin_lane {
  std::uint64_t epoch = 0;
  std::uint64_t limit = 0;  ///< steps below it may be computed
  std::vector<caf::actor> shards;
  caf::actor loader;
};

/// Raises or lowers the limit; steps that were begun are finished.
struct run_until {
  std::uint64_t epoch = 0;
  std::uint64_t limit = 0;
};

/// Stop before the next step. Answered by lane_paused once that step is known.
struct pause_lane {
  std::uint64_t epoch = 0;
};
struct lane_paused {
  std::uint64_t epoch = 0;
  std::uint32_t lane = 0;
  std::uint64_t next_step = 0;
};

/// To the coordinator after each step that was computed, whether or not it comes to have effect.
struct lane_report {
  std::uint32_t lane = 0;
  std::uint64_t step = 0;
  std::int64_t tokens = 0;
  /// Of computing: what it waited for other nodes is not in it. On a GPU the update before it is, and with that what its
  /// process's other lanes took longer.
  double seconds = 0.0;
};

/// To the coordinator: the shards disagree on the step that is due and do not converge.
struct lane_stuck {
  std::uint64_t epoch = 0;
  std::uint32_t lane = 0;
};

/// To itself: run one block.
struct proceed {
  std::uint64_t attempt = 0;
};

using replica_actor =
    caf::typed_actor<caf::reacts_to<begin_lane>, caf::reacts_to<run_until>, caf::reacts_to<pause_lane>,
                     caf::reacts_to<lane_due>, caf::reacts_to<lane_batch>, caf::reacts_to<parameters>,
                     caf::reacts_to<pull_too_late>, caf::reacts_to<proceed>>;

/// Reports to `coordinator`; waits for begin_lane. `incarnation` orders its attempts after those of its predecessors.
caf::actor spawn_replica(caf::actor_system& system, const job_context_ptr& context, std::uint32_t lane,
                         std::uint64_t incarnation, caf::actor coordinator);

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::begin_lane)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::run_until)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::pause_lane)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::lane_paused)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::lane_report)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::lane_stuck)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::proceed)
