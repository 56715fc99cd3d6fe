#pragma once

#include <cstdint>
#include <utility>

#include <fmt/format.h>

#include "actors/job_context.hpp"
#include "runtime/computing_thread.hpp"
#include "runtime/system.hpp"
#include "runtime/tensor/device_module.hpp"

namespace troupe {

/// Spawns the replica or the shard of this index, from a function whose first argument after itself is the context. In sync
/// mode the one has nothing to do while the other computes: on a CPU they share a thread, where they are in one process. A
/// GPU's have their own, since those wait for it, and should meanwhile receive what comes from elsewhere.
template <class F, class... Ts>
caf::actor spawn_in_lane(caf::actor_system& system, const job_context_ptr& context, std::uint32_t index, F f, Ts&&... xs) {
  if (context->sync() && !is_cuda(context->settings.runtime.device) && !is_simulated(system))
    return caf::actor_cast<caf::actor>(spawn_on(shared_thread(system, fmt::format("lane/{}", index)), std::move(f), context,
                                                std::forward<Ts>(xs)...));
  return caf::actor_cast<caf::actor>(spawn_computing(system, std::move(f), context, std::forward<Ts>(xs)...));
}

}  // namespace troupe
