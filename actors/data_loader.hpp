#pragma once

/// The data loader: reads batches ahead of its lane. It has no state worth keeping: which samples make up a batch is a
/// pure function of (seed, lane, step), so a loader that is started again goes on where the lane asks (P4, P5).

#include <cstdint>
#include <vector>

#include <caf/all.hpp>

#include "actors/job_context.hpp"

namespace troupe {

/// Answered by lane_batch. Later steps are read ahead, at most `runtime.prefetch` of them.
struct read_lane_batch {
  std::uint32_t lane = 0;
  std::uint64_t step = 0;
};

struct lane_batch {
  std::uint64_t step = 0;
  std::vector<batch> micro_batches;   ///< one for each round of gradient accumulation; host tensors
  std::vector<sample_range> samples;  ///< that are in them
};

/// To itself: read one more batch ahead.
struct read_ahead {};

using data_loader_actor = caf::typed_actor<caf::reacts_to<read_lane_batch>, caf::reacts_to<read_ahead>>;

caf::actor spawn_data_loader(caf::actor_system& system, job_context_ptr context);

/// What one lane computes in one step. Sample indices of a step are contiguous: step s reads s * batch ..
/// (s + 1) * batch - 1, dealt to micro-batches, then lanes, then rows.
lane_batch read_lane(const job_context& context, std::uint32_t lane, std::uint64_t step);

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::read_lane_batch)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::lane_batch)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::read_ahead)
