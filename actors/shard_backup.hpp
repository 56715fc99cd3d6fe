#pragma once

#include <optional>

#include "actors/job_context.hpp"
#include "actors/replicated_state.hpp"
#include "actors/shard_memory.hpp"

namespace troupe {

/// The second copy of a shard's state: applies what the shard applies, in the same order, with the same numbers. Owned
/// by one actor; no protocol.
class shard_backup {
 public:
  shard_backup(const job_context_ptr& context, std::uint32_t shard, shard_state from);

  /// REQUIRES: finished all that were received before.
  void receive(shard_update update);
  void finish(const update_factors& factors);
  bool waits_for_factors() const noexcept { return state_.pending.has_value(); }

  /// Handles to everything, as a shard's own snapshot.
  shard_snapshot snapshot();
  /// All there is, for a successor; what is pending, too.
  shard_state hand_over();

 private:
  shard_memory memory_;
  shard_state state_;  // without the tensors
};

}  // namespace troupe
