#pragma once

/// The keeper: holds one shard's part of the last cut in the memory of another node than the shard's, so that a shard
/// whose node is lost comes back without the disk, and without the head's network. It is disposable (P5): a keeper that
/// is lost is started elsewhere and gets from its shard what that holds itself.
///
///     shard        --keep_cut-->    keeper        each snapshot it takes
///     keeper       --cut_kept-->    coordinator   from now on it can be had here
///     coordinator  --drop_cuts-->   keeper        the last cut is on disk: those before it are not needed
///     shard        --fetch_cut-->   keeper        started anew, it was told to go on from there
///     keeper       --kept_part-->   shard
///
/// With `runtime.replication = 2` it is the shard's backup as well (replicated_state.hpp):
///
///     shard    --begin_backup_of-->   keeper        its state, whole
///     keeper   --backup_ready-->      shard         from now on it can be taken over for; the shard tells the coordinator
///     shard    --backup_update-->     keeper        a gradient that is about to have effect
///     keeper   --update_received-->   shard         now it may
///     shard    --backup_factors-->    keeper        sync: what turns the gradient into an update
///     shard    --fetch_state-->       keeper        a successor takes over; from then on the keeper follows nobody
///     keeper   --kept_state-->        shard
///
/// What the keeper hands over in its own process are handles, not copies.
///
/// Between two nodes TCP's checksums, or TLS, guard the bytes. The keeper takes an xxh3 of what arrives, and the shard
/// that gets it back compares: what went bad in memory or on the second way is recognised, and the disk's cut is used.

#include <cstdint>
#include <optional>

#include <caf/all.hpp>

#include "actors/held_part.hpp"
#include "actors/job_context.hpp"
#include "actors/replicated_state.hpp"

namespace troupe {

/// What was held of a later or the same step is of a past that the job went back from.
struct keep_cut {
  std::uint64_t epoch = 0;
  cut_id cut;
  std::optional<shard_snapshot> part;  ///< absent: the state that the backup has reached
};

struct fetch_cut {
  std::uint64_t epoch = 0;  ///< comes back with the answer
  std::uint32_t shard = 0;
  std::uint64_t step = 0;
};

struct drop_cuts {
  std::uint64_t before = 0;
};

/// To the shard; no part where that cut is not held there (any more).
struct kept_part {
  std::uint64_t epoch = 0;
  std::optional<held_part> held;
};

struct begin_backup_of {
  std::uint64_t epoch = 0;
  shard_state state;
};

struct backup_update {
  std::uint64_t epoch = 0;
  shard_update update;
  std::optional<update_factors> factors;  ///< absent: they come when they are known
};

struct update_received {
  std::uint64_t epoch = 0;
};

struct backup_factors {
  std::uint64_t epoch = 0;
  std::uint64_t version = 0;
  update_factors factors;
};

struct fetch_state {
  std::uint64_t epoch = 0;  ///< comes back with the answer
};

/// To the shard; no state where the keeper does not follow its predecessor (any more).
struct kept_state {
  std::uint64_t epoch = 0;
  std::optional<shard_state> state;
  std::optional<held_part> cut;  ///< the newest that is kept
};

/// To the shard: its state has arrived.
struct backup_ready {
  std::uint64_t epoch = 0;
};

/// To the coordinator.
struct cut_kept {
  std::uint64_t epoch = 0;
  std::uint64_t step = 0;
  std::uint32_t shard = 0;
};

using keeper_actor =
    caf::typed_actor<caf::reacts_to<keep_cut>, caf::reacts_to<fetch_cut>, caf::reacts_to<drop_cuts>,
                     caf::reacts_to<begin_backup_of>, caf::reacts_to<backup_update>, caf::reacts_to<backup_factors>,
                     caf::reacts_to<fetch_state>>;

caf::actor spawn_keeper(caf::actor_system& system, job_context_ptr context, std::uint32_t shard,
                        caf::actor coordinator);

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::keep_cut)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::fetch_cut)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::drop_cuts)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::kept_part)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::cut_kept)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::begin_backup_of)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::backup_update)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::update_received)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::backup_factors)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::fetch_state)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::kept_state)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::backup_ready)
