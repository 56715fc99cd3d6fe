#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <caf/all.hpp>

#include "actors/job_context.hpp"
#include "runtime/supervision/supervisor.hpp"

namespace troupe {

/// Starts the supervisors of a job and everything below them:
///
///     job                      one-for-one, gives up at once: its owner decides
///     ├── shards               shard/0 ...
///     ├── loaders              loader/0 ...
///     ├── replicas             replica/0 ...
///     └── services             evaluator, checkpoint_writer
///
/// Everybody is known by name in `names`. All events go to `coordinator`.
supervisor_actor spawn_job_tree(caf::actor_system& system, job_context_ptr context, const directory_actor& names,
                                const caf::actor& coordinator);

/// The same tree with one name a line, for people: what --dry-run prints.
std::string describe_tree(const job_context& context);

/// Who is alive below a coordinator, kept up to date by child events. An empty handle: nobody, for now.
class roster {
 public:
  explicit roster(const job_context& context);

  /// Which table an actor of this job stands in.
  enum class role : std::uint8_t { shard, loader, replica, evaluator, writer, other };
  struct place {
    role what = role::other;
    std::uint32_t index = 0;
  };
  /// From a logical name such as "shard/3".
  static place find(const std::string& name);

  void note(const child_event& event);
  bool all_shards_alive() const;
  /// By logical name; empty where nobody lives there.
  caf::actor handle(const std::string& name) const;

  std::vector<caf::actor> shards, loaders, replicas;
  std::vector<std::uint64_t> shard_incarnations;
  caf::actor evaluator, writer;

 private:
  caf::actor* slot(place where);
};

}  // namespace troupe
