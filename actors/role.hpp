#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <caf/all.hpp>

#include "actors/job_context.hpp"
#include "runtime/supervision/supervisor.hpp"

namespace troupe {

/// What the actors below a coordinator are.
enum class role_kind : std::uint8_t { shard, keeper, loader, replica, evaluator, writer, survivor, other };

struct role {
  role_kind kind = role_kind::other;
  std::uint32_t index = 0;
};

/// "shard/3", "keeper/3", "loader/0", "replica/0", "evaluator", "checkpoint_writer", "survivor".
std::string name_of(role which);
/// The reverse; role_kind::other where the name is nobody's.
role role_of(const std::string& name);

/// Spawns an actor of the job in this process.
caf::actor spawn_role(caf::actor_system& system, const job_context_ptr& context, role which, std::uint64_t incarnation,
                      const caf::actor& coordinator);

/// Spawns it wherever it belongs; an empty handle where there is no place for it now.
using role_spawner = std::function<caf::actor(caf::actor_system&, const child_context&, const caf::actor& coordinator)>;

/// Everybody in this process.
role_spawner spawn_here(job_context_ptr context);

}  // namespace troupe
