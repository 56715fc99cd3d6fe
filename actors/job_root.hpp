#pragma once

/// The pieces of `run_job`, for whoever brings an actor system of their own: tests under simulation, a cluster node.

#include <memory>

#include "actors/job_context.hpp"
#include "actors/job_log.hpp"
#include "actors/job_places.hpp"
#include "runtime/supervision/supervisor.hpp"

namespace troupe {

/// Checks the settings and lays out the shards. Throws input_error naming the setting. `leads_only`: this process computes
/// nothing, and need not have the GPUs that its nodes compute on.
job_context_ptr make_job_context(const job_inputs& inputs, const job_settings& settings, bool leads_only = false);

/// Starts the root supervisor with the coordinator below it. `listener` receives job_done; the supervisor ends with
/// the root cause where the job cannot go on. `places` says where the actors below the coordinator live.
supervisor_actor spawn_job(caf::actor_system& system, job_context_ptr context, std::shared_ptr<job_log> log,
                           const directory_actor& names, const caf::actor& listener, const job_places& places);

}  // namespace troupe
