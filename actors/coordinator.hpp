#pragma once

/// The coordinator owns a job: it starts the tree of actors, says which steps may be computed, takes cuts and
/// evaluations, and decides what happens when something dies.
///
/// Lanes run freely up to a barrier: the next step at which a cut or an evaluation is due, or the end. There all lanes
/// stand level, shards hand out handles to their tensors, and the lanes go on: a barrier lasts a message's round trip,
/// not the writing or the evaluating.
///
/// What happens when an actor dies, and what is lost:
///
///     loader      started again; the lane asks for its batch anew                  nothing
///     replica     started again; the lane recomputes its step under a new attempt  that step's work
///     shard       sync: a new epoch, all shards return to the last cut             the steps since then, to be repeated
///                 bounded, async: that shard returns to the last cut; lanes
///                 replay for it what the other shards drop as duplicates           the same, for one shard
///     evaluator   started again                                                    at most one evaluation
///     writer      started again                                                    at most one cut
///     coordinator started again with all below it, from the last cut               the steps since then, to be repeated
///     node        whoever lived there is started on another, as above              as above, for all of them together
///     head        another process resumes the job (job_journal.hpp), from the
///                 newest cut in nodes' memory (surviving_cuts.hpp) or on disk      the steps since then, to be repeated
///
/// Without a cut, "the last cut" is the job's start. Where it is taken from: shards that live hold their parts
/// themselves, and those of lost shards are with their keepers on other nodes (keeper.hpp); what nobody holds in memory
/// is read from disk. "Last" is the newest cut that every shard can return to. A keeper that dies is started elsewhere,
/// at no loss.
///
/// What stays broken comes to an end: restarts that bring no new step (supervision.fruitless_max), a last cut for which
/// the disk has no room (checkpoint.retry_for; one before that is left to the next), a stop for which somebody does not
/// pause (supervision.stop_within), and waiting in general: for a step by how long steps took of late
/// (supervision.stall_steps, stall_least), for all else supervision.stall_after. The last cut stays.
///
/// With `runtime.replication = 2` keepers are backups as well: a shard that is lost goes on from where its backup is,
/// in the same epoch; the lanes ask what is due and do again what the dead one had not summed. A shard that is lost
/// together with its backup is restored as above.
///
/// On a cluster, work moves between nodes at cuts only, where all lanes stand level and nothing is lost by it: to a new
/// node at the next cut, off a node that must leave at a cut taken for it. So do lanes where nodes turn out to be faster or
/// slower than they are laden, once that has lasted (runtime.rebalance_after). The number of lanes never changes, so that
/// the mathematics never does.

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include <caf/all.hpp>

#include "actors/checkpoint_writer.hpp"
#include "actors/evaluator.hpp"
#include "actors/job_context.hpp"
#include "actors/job_log.hpp"
#include "actors/job_places.hpp"
#include "actors/parameter_shard.hpp"
#include "actors/replica.hpp"
#include "runtime/cluster/membership.hpp"
#include "runtime/supervision/supervisor.hpp"

namespace troupe {

/// Finish the steps that were begun, make a cut, end.
struct stop_job {};

/// From coordinator_watch, in this process: say that you are not stuck.
struct show_life {
  std::shared_ptr<std::atomic<bool>> lives;
};

/// To the listener: the job is done, its tree stopped; the log holds the summary.
struct job_done {};

using coordinator_actor =
    caf::typed_actor<caf::reacts_to<child_event>, caf::reacts_to<shard_report>, caf::reacts_to<lane_report>,
                     caf::reacts_to<lane_paused>, caf::reacts_to<lane_stuck>, caf::reacts_to<evaluation_started>,
                     caf::reacts_to<evaluation_done>, caf::reacts_to<snapshot_taken>, caf::reacts_to<cut_published>, caf::reacts_to<cut_failed>,
                     caf::reacts_to<cut_kept>, caf::reacts_to<restore_failed>, caf::reacts_to<backup_begun>,
                     caf::reacts_to<backup_lost>,
                     caf::reacts_to<parameters>, caf::reacts_to<pull_too_late>, caf::reacts_to<stop_job>,
                     caf::reacts_to<show_life>,
                     caf::reacts_to<node_ready>, caf::reacts_to<node_leaving>, caf::reacts_to<cut_wanted>>;

/// Goes on from the newest good cut in the context's store; from the beginning where none was made yet.
caf::actor spawn_coordinator(caf::actor_system& system, job_context_ptr context, std::shared_ptr<job_log> log,
                             const child_context& born, caf::actor listener, job_places places);

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::stop_job)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::show_life)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::job_done)
