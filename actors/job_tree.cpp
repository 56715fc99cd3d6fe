#include "actors/job_tree.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace troupe {

namespace {

struct group {
  std::string supervisor;
  std::vector<role> members;
};

std::vector<group> groups_of(const job_context& context, bool with_keepers) {
  std::vector<group> groups{{"shards", {}}, {"loaders", {}}, {"replicas", {}}, {"services", {}}};
  for (std::uint32_t i = 0; i < context.layout.shard_count(); ++i)
    groups[0].members.push_back({role_kind::shard, i});
  for (std::uint32_t i = 0; i < context.lanes(); ++i) {
    groups[1].members.push_back({role_kind::loader, i});
    groups[2].members.push_back({role_kind::replica, i});
  }
  if (with_keepers) {
    auto& keepers = *groups.insert(groups.begin() + 1, {"keepers", {}});
    for (std::uint32_t i = 0; i < context.layout.shard_count(); ++i)
      keepers.members.push_back({role_kind::keeper, i});
  }
  if (context.settings.evaluation.batches > 0)
    groups.back().members.push_back({role_kind::evaluator});
  if (context.store)
    groups.back().members.push_back({role_kind::writer});
  return groups;
}

}  // namespace

supervisor_actor spawn_job_tree(caf::actor_system& system, const job_context& context, const role_spawner& spawner,
                                const directory_actor& names, const caf::actor& coordinator, bool with_keepers) {
  const auto& settings = context.settings.supervision;
  std::vector<child_spec> supervisors;
  for (const auto& each : groups_of(context, with_keepers)) {
    std::vector<child_spec> children;
    for (const auto& member : each.members)
      children.push_back({name_of(member), [=](caf::actor_system& sys, const child_context& child) {
                            return spawner(sys, child, coordinator);
                          }});
    supervisor_options options;
    options.name = each.supervisor;
    options.intensity = settings.intensity;
    options.window = settings.window;
    options.backoff_first = settings.backoff_first;
    options.backoff_max = settings.backoff_max;
    options.jitter_seed = context.settings.training.seed;
    const auto patience = std::chrono::seconds{5} * (children.size() + 1);
    supervisors.push_back({each.supervisor,
                           [=, children = std::move(children)](caf::actor_system& sys, const child_context&) {
                             return caf::actor_cast<caf::actor>(
                                 spawn_supervisor(sys, options, names, children, coordinator));
                           },
                           restart_kind::permanent, patience});
  }
  supervisor_options options;
  options.name = "job";
  options.intensity = 0;  // a group that gave up takes the job with it
  return spawn_supervisor(system, options, names, std::move(supervisors), coordinator);
}

std::string describe_tree(const job_context& context) {
  std::string text = "coordinator\n└── job\n";
  const auto groups = groups_of(context, false);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const bool last_group = g + 1 == groups.size();
    text += fmt::format("    {} {}\n", last_group ? "└──" : "├──", groups[g].supervisor);
    for (std::size_t c = 0; c < groups[g].members.size(); ++c)
      text += fmt::format("    {}   {} {}\n", last_group ? " " : "│",
                          c + 1 == groups[g].members.size() ? "└──" : "├──", name_of(groups[g].members[c]));
  }
  return text;
}

roster::roster(const job_context& context)
    : shards(context.layout.shard_count()),
      keepers(context.layout.shard_count()),
      loaders(context.lanes()),
      replicas(context.lanes()),
      shard_incarnations(context.layout.shard_count(), 0) {}

caf::actor* roster::slot(role where) {
  const auto at = [&](std::vector<caf::actor>& table) {
    return where.index < table.size() ? &table[where.index] : nullptr;
  };
  switch (where.kind) {
    case role_kind::shard:
      return at(shards);
    case role_kind::keeper:
      return at(keepers);
    case role_kind::loader:
      return at(loaders);
    case role_kind::replica:
      return at(replicas);
    case role_kind::evaluator:
      return &evaluator;
    case role_kind::writer:
      return &writer;
    case role_kind::survivor:
    case role_kind::other:
      return nullptr;
  }
  return nullptr;
}

void roster::note(const child_event& event) {
  const auto where = role_of(event.child);
  auto* handle = slot(where);
  if (!handle)
    return;
  if (event.what == child_event::kind::started) {
    *handle = event.handle;
    if (where.kind == role_kind::shard)
      shard_incarnations[where.index] = event.incarnation;
  } else if (event.what == child_event::kind::ended || event.what == child_event::kind::stopped ||
             event.what == child_event::kind::abandoned) {
    *handle = {};
  }
}

namespace {

bool are_alive(const std::vector<caf::actor>& all) {
  return std::all_of(all.begin(), all.end(), [](const auto& each) { return static_cast<bool>(each); });
}

}  // namespace

bool roster::all_shards_alive() const { return are_alive(shards); }

bool roster::all_alive() const { return are_alive(shards) && are_alive(replicas) && are_alive(loaders); }

caf::actor roster::handle(const std::string& name) const {
  const auto* found = const_cast<roster*>(this)->slot(role_of(name));
  return found ? *found : caf::actor{};
}

}  // namespace troupe
