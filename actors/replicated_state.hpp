#pragma once

/// What a shard tells its backup, and what the backup gives to the shard's successor. Beside the cut that a keeper
/// holds, with `runtime.replication = 2` it holds the shard's present state and applies the same updates.

#include <cstdint>
#include <optional>
#include <vector>

#include "actors/job.hpp"
#include "runtime/checkpoint/store.hpp"
#include "runtime/tensor/numbers.hpp"

namespace troupe {

/// From shard to shard: the squares of the lanes' summed gradient, one number for each of the sender's parameters. With
/// backups it also says that the sender's has the gradient.
struct norm_part {
  std::uint64_t epoch = 0;
  std::uint64_t step = 0;
  std::uint32_t shard = 0;
  numbers squares;
};
inline constexpr std::size_t norm_parts_kept = 2;

/// What one lane did in one step.
struct lane_result {
  std::uint32_t lane = 0;
  std::uint64_t step = 0;
  std::int64_t targets = 0;
  numbers losses;  ///< one for each micro-batch; their sum counts
  std::vector<sample_range> samples;
};
/// Of the last updates, in case the coordinator did not hear of them.
inline constexpr std::size_t results_kept = 256;

/// A gradient that is about to have effect: the lanes' sum of a step in sync mode, one lane's otherwise.
struct shard_update {
  std::uint64_t version = 0;         ///< before it
  std::vector<tensor> gradients;     ///< by parameter of the shard
  std::vector<lane_result> results;  ///< of the lanes that are in it
  std::optional<norm_part> norm;     ///< sync: the shard's own
  std::vector<tensor> mean_squares;  ///< adaptive delay compensation only: what it has become
};

/// The numbers that turn it into an update. In sync mode they are known when all shards' parts of the norm are.
struct update_factors {
  double learning_rate = 0.0;
  double gradient_scale = 1.0;  ///< without clipping
  numbers clipping;             ///< what it is multiplied by, as `stream::clip_by_norm` says; none: 1
  numbers gradient_norm;        ///< for people
};

/// A shard, whole.
struct shard_state {
  shard_snapshot now;                   ///< version, lanes, tensors
  update_factors last;
  std::vector<lane_result> results;     ///< at most results_kept
  std::vector<norm_part> norms;         ///< its own, at most norm_parts_kept
  std::optional<shard_update> pending;  ///< sync: its norm is not complete
};

}  // namespace troupe
