#pragma once

/// The checkpoint writer: takes snapshots from shards and puts them on disk while training goes on. One cut at a time
/// is under way (the coordinator sees to it), so memory stays bounded.

#include <cstdint>
#include <filesystem>
#include <string>

#include <caf/all.hpp>

#include "actors/job_context.hpp"

namespace troupe {

/// One shard's part of the cut at `step`.
struct write_part {
  std::uint64_t epoch = 0;
  std::uint64_t step = 0;
  shard_snapshot part;
};

/// To the coordinator when the cut is on disk under its final name.
struct cut_published {
  std::uint64_t epoch = 0;
  std::uint64_t step = 0;
  std::filesystem::path path;
  std::size_t size_bytes = 0;
  double write_seconds = 0.0;
};

/// To the coordinator instead: the disk is full, say. What was written of the cut is discarded.
struct cut_failed {
  std::uint64_t epoch = 0;
  std::uint64_t step = 0;
  std::string fault;
};

using checkpoint_writer_actor = caf::typed_actor<caf::reacts_to<write_part>>;

/// Publishes a cut as soon as the parts of all shards are written, and tells `coordinator`; what the disk refuses is no
/// failure of the writer's. A part of a later epoch
/// discards what an earlier one left unpublished.
caf::actor spawn_checkpoint_writer(caf::actor_system& system, job_context_ptr context, caf::actor coordinator);

/// Removes what was left of cuts in the midst of being written, unless another process has taken the run over: it
/// writes its cuts in the same folder.
void discard_unpublished(const job_context& context);

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::write_part)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::cut_published)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::cut_failed)
