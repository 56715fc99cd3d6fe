#pragma once

/// The parameter shard: owns one range of the parameter space and its optimizer state, applies each gradient exactly
/// once (P1) and enforces the job's consistency. It is the only training actor with durable state (P5).
///
/// One step, as a shard sees it:
///
///     replica     --pull_parameters(lane, step)-->  shard      answered when consistency allows
///     shard       --parameters(version, block)-->   replica    one message per block; handles, not copies
///     replica     --push_gradient(block)-->         shard      while the backward pass still runs
///     replica     --complete_step-->                shard      all of the lane's pieces are there
///     shard       --norm_part-->                    shards     sync: the norm spans all
///     shard       --shard_report-->                 coordinator
///
/// Updates write aside whatever somebody still holds (`optimizer::update`), so a snapshot, an evaluation and a slow
/// reader cost a handle, not a pause. The shard itself holds the snapshot of its last cut, so that going back to it
/// takes neither a transfer nor the disk, and gives each snapshot to its keeper on another node (keeper.hpp).
///
/// With `runtime.replication = 2` the keeper is the shard's backup as well. The shard sends it each gradient as it is
/// applied, in sync mode the lanes' sum, which is as large as one lane's, and nobody sees its effect before the backup
/// has it. So the backup is never behind what anybody has seen, and a shard that is started from it takes over without
/// a rollback; lanes do again what the dead one had not summed. In sync mode no shard updates before the backups of all
/// have the step's gradients, which is what norm_part then tells: lanes that repeat a step for one shard need the
/// parameters of all. What keeps this the primary-backup scheme of Alsberg and Day (1976), with an update's receipt as
/// its commit, is that a successor asks the backup for its state, which from then on acknowledges nothing to its
/// predecessor.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <caf/all.hpp>

#include "actors/job_context.hpp"
#include "actors/keeper.hpp"
#include "actors/shard_origin.hpp"

namespace troupe {

// -- to a shard ------------------------------------------------------------------

/// Starts the shard, or sends it back: under `epoch`, to its part of the cut at `step`, or to where its backup is.
/// Answered by a shard_report, or by restore_failed.
struct restore_shard {
  std::uint64_t epoch = 0;
  restore_source source = restore_source::beginning;
  std::uint64_t step = 0;
  std::optional<shard_origin> from;  ///< disk: the part
  caf::actor keeper;                 ///< neighbour, backup, survivor: who has it
  std::vector<caf::actor> shards;    ///< all shards by index, this one too; for norm_part
};

/// From now on this keeper holds the last cut, and is the backup where there are any. REQUIRES: it was restored.
struct meet_keeper {
  std::uint64_t epoch = 0;
  caf::actor keeper;
  std::optional<std::uint64_t> kept;  ///< the newest cut it has already
};

/// Which step of this lane is due? Answered by lane_due once the shard has been restored to `epoch`.
struct query_lane {
  std::uint64_t epoch = 0;
  std::uint32_t lane = 0;
  std::uint64_t attempt = 0;  ///< comes back with the answer, here and below: late answers are told apart by it
};

/// Asks for the parameters to compute `step` with. An `exact` pull wants those after exactly `step` updates of each
/// lane and gets none at any other time; a lane's pull is answered when consistency allows it.
struct pull_parameters {
  std::uint64_t epoch = 0;
  std::uint32_t lane = 0;
  std::uint64_t step = 0;
  bool exact = false;
  std::uint64_t attempt = 0;
};

/// Gradients of parameters first .. first + gradients.size() - 1, summed over the lane's targets. The shard owns the
/// memory from here on and may write to it.
struct push_gradient {
  std::uint64_t epoch = 0;
  std::uint32_t lane = 0;
  std::uint64_t step = 0;
  std::uint64_t attempt = 0;  ///< rises each time the lane starts over; a later one replaces what is pending
  std::size_t first = 0;
  std::vector<tensor> gradients;
};

/// The lane pushed all its pieces of `step` to this shard.
struct complete_step {
  std::uint64_t epoch = 0;
  std::uint32_t lane = 0;
  std::uint64_t step = 0;
  std::uint64_t attempt = 0;
  std::uint64_t version_read = 0;       ///< of this shard's parameters
  std::int64_t targets = 0;             ///< over which the gradients are sums
  numbers losses;                       ///< sums over the same, one for each micro-batch
  numbers squares;                      ///< of the gradient, by parameter of the whole space; bounded and async only
  std::vector<sample_range> samples;    ///< on which they were computed
};

/// From shard to shard, where another was taken over for and may lack what its predecessor was sent.
struct norms_again {
  std::uint64_t epoch = 0;
  std::vector<norm_part> parts;  ///< the sender's last
  bool answer = false;           ///< send yours, too
};

/// Another shard was taken over for by its backup, in the same epoch.
struct meet_shard {
  std::uint64_t epoch = 0;
  std::uint32_t shard = 0;
  caf::actor who;
};

/// Snapshot now: the coordinator knows that all lanes stand at `step`. The snapshot goes to `writer`.
struct take_snapshot {
  std::uint64_t epoch = 0;
  std::uint64_t step = 0;
  caf::actor writer;
};

// -- from a shard ----------------------------------------------------------------

struct lane_due {
  std::uint64_t epoch = 0;
  std::uint64_t attempt = 0;
  std::uint32_t shard = 0;
  std::uint64_t next_step = 0;
  bool is_pending = false;  ///< its gradients are there from all lanes, and will have effect unless another shard lacks them
};

/// Answer to pull_parameters; values of parameters first .. first + values.size() - 1, all of one block.
struct parameters {
  std::uint64_t epoch = 0;
  std::uint64_t attempt = 0;
  std::uint32_t shard = 0;
  std::uint64_t step = 0;  ///< as asked
  std::uint64_t version = 0;
  std::size_t block = 0;
  std::size_t first = 0;
  std::vector<tensor> values;
};

/// Answer to an exact pull that comes after the step has passed.
struct pull_too_late {
  std::uint64_t epoch = 0;
  std::uint64_t attempt = 0;
  std::uint32_t shard = 0;
  std::uint64_t step = 0;
};

/// To the coordinator after each update and after each restore. Losses travel through the shards, so that the
/// coordinator hears of each exactly when it has had effect.
struct shard_report {
  std::uint64_t epoch = 0;
  std::uint32_t shard = 0;
  std::uint64_t version = 0;
  std::vector<lane_result> results;  ///< that went into the update
  std::uint64_t steps_done = 0;  ///< by the slowest lane
  std::vector<std::uint64_t> applied;
  std::uint64_t duplicates_dropped = 0;  ///< by this incarnation
  std::uint64_t stale_dropped = 0;       ///< by this incarnation
  update_factors last;
  std::uint64_t staleness = 0;
  std::optional<std::uint64_t> held;  ///< the cut that it can return to from its own memory
};

struct snapshot_taken {
  std::uint64_t epoch = 0;
  std::uint64_t step = 0;
  std::uint32_t shard = 0;
  double pause_seconds = 0.0;
};

// To the coordinator, both from the shard: over two links the one could overtake the other, and what its backup was
// would be taken for what it is.

/// From now on this keeper can take the shard over.
struct backup_begun {
  std::uint64_t epoch = 0;
  std::uint32_t shard = 0;
  caf::actor keeper;
};
/// The shard goes on without a backup.
struct backup_lost {
  std::uint64_t epoch = 0;
  std::uint32_t shard = 0;
  caf::actor keeper;
};

/// What the shard was to be restored from is not there, or not what it was.
struct restore_failed {
  std::uint64_t epoch = 0;
  std::uint32_t shard = 0;
  std::string fault;
};

using parameter_shard_actor = caf::typed_actor<
    caf::reacts_to<restore_shard>, caf::reacts_to<kept_part>, caf::reacts_to<kept_state>, caf::reacts_to<take_snapshot>,
    caf::reacts_to<meet_keeper>, caf::reacts_to<backup_ready>, caf::reacts_to<update_received>, caf::reacts_to<query_lane>,
    caf::reacts_to<pull_parameters>, caf::reacts_to<push_gradient>, caf::reacts_to<complete_step>,
    caf::reacts_to<norm_part>, caf::reacts_to<norms_again>, caf::reacts_to<meet_shard>>;

/// Reports to `coordinator`. Waits for restore_shard before it serves.
caf::actor spawn_parameter_shard(caf::actor_system& system, const job_context_ptr& context, std::uint32_t index,
                                 caf::actor coordinator);

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::restore_shard)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::meet_keeper)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::restore_failed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::norms_again)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::meet_shard)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::backup_begun)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::backup_lost)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::query_lane)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::pull_parameters)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::push_gradient)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::complete_step)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::norm_part)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::take_snapshot)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::lane_due)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::parameters)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::pull_too_late)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::shard_report)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::snapshot_taken)
