#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <caf/all.hpp>

#include "actors/job_context.hpp"
#include "actors/role.hpp"
#include "runtime/supervision/supervisor.hpp"

namespace troupe {

/// Starts the supervisors of a job and everything below them:
///
///     job                      one-for-one, gives up at once: its owner decides
///     ├── shards               shard/0 ...
///     ├── keepers              keeper/0 ..., where there are several nodes
///     ├── loaders              loader/0 ...
///     ├── replicas             replica/0 ...
///     └── services             evaluator, checkpoint_writer
///
/// Everybody is known by name in `names`. All events go to `coordinator`.
supervisor_actor spawn_job_tree(caf::actor_system& system, const job_context& context, const role_spawner& spawner,
                                const directory_actor& names, const caf::actor& coordinator, bool with_keepers);

/// The same tree with one name a line, for people: what --dry-run prints.
std::string describe_tree(const job_context& context);

/// Who is alive below a coordinator, kept up to date by child events. An empty handle: nobody, for now.
class roster {
 public:
  explicit roster(const job_context& context);

  void note(const child_event& event);
  bool all_shards_alive() const;
  /// Shards, replicas and loaders.
  bool all_alive() const;
  /// By logical name; empty where nobody lives there.
  caf::actor handle(const std::string& name) const;

  std::vector<caf::actor> shards, keepers, loaders, replicas;
  std::vector<std::uint64_t> shard_incarnations;
  caf::actor evaluator, writer;

 private:
  caf::actor* slot(role where);
};

}  // namespace troupe
