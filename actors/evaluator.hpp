#pragma once

/// The evaluator: measures the loss on both splits with the parameters of one step, while training goes on. It holds
/// handles to that step's parameters; the shards write aside what comes after. An evaluator that dies loses the
/// evaluation under way, nothing else: the coordinator asks again while the lanes still stand at that step, and says
/// so where they do not. Between two batches it listens: one that is told to end does not measure on.

#include <cstdint>
#include <vector>

#include <caf/all.hpp>

#include "actors/job_context.hpp"
#include "actors/parameter_shard.hpp"

namespace troupe {

/// Evaluate at `step`, where all lanes stand now.
struct evaluate {
  std::uint64_t epoch = 0;
  std::uint64_t step = 0;
  std::vector<caf::actor> shards;
};

/// To the coordinator: it holds the parameters, training may go on.
struct evaluation_started {
  std::uint64_t epoch = 0;
  std::uint64_t step = 0;
};

struct evaluation_done {
  std::uint64_t epoch = 0;
  evaluation_report report;
};

/// To itself: measure one more batch.
struct measure_more {
  std::uint64_t attempt = 0;
};

using evaluator_actor = caf::typed_actor<caf::reacts_to<evaluate>, caf::reacts_to<parameters>,
                                         caf::reacts_to<measure_more>, caf::reacts_to<pull_too_late>>;

caf::actor spawn_evaluator(caf::actor_system& system, job_context_ptr context, caf::actor coordinator);

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::evaluate)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::evaluation_started)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::evaluation_done)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::measure_more)
