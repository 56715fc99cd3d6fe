#include "actors/job_tree.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "actors/checkpoint_writer.hpp"
#include "actors/data_loader.hpp"
#include "actors/evaluator.hpp"
#include "actors/parameter_shard.hpp"
#include "actors/replica.hpp"

namespace troupe {

namespace {

std::string numbered(std::string_view role, std::uint32_t index) { return fmt::format("{}/{}", role, index); }

using start_function = std::function<caf::actor(caf::actor_system&, const child_context&)>;

struct group {
  std::string supervisor;
  std::vector<child_spec> children;
};

std::vector<group> groups_of(const job_context_ptr& context, const caf::actor& coordinator) {
  std::vector<group> groups{{"shards", {}}, {"loaders", {}}, {"replicas", {}}, {"services", {}}};
  for (std::uint32_t i = 0; i < context->layout.shard_count(); ++i)
    groups[0].children.push_back({numbered("shard", i), [=](caf::actor_system& system, const child_context&) {
                                    return spawn_parameter_shard(system, context, i, coordinator);
                                  }});
  for (std::uint32_t i = 0; i < context->lanes(); ++i) {
    groups[1].children.push_back({numbered("loader", i), [=](caf::actor_system& system, const child_context&) {
                                    return spawn_data_loader(system, context);
                                  }});
    groups[2].children.push_back({numbered("replica", i), [=](caf::actor_system& system, const child_context& child) {
                                    return spawn_replica(system, context, i, child.incarnation, coordinator);
                                  }});
  }
  if (context->settings.evaluation.batches > 0)
    groups[3].children.push_back({"evaluator", [=](caf::actor_system& system, const child_context&) {
                                    return spawn_evaluator(system, context, coordinator);
                                  }});
  if (context->store)
    groups[3].children.push_back({"checkpoint_writer", [=](caf::actor_system& system, const child_context&) {
                                    return spawn_checkpoint_writer(system, context, coordinator);
                                  }});
  return groups;
}

}  // namespace

supervisor_actor spawn_job_tree(caf::actor_system& system, job_context_ptr context, const directory_actor& names,
                                const caf::actor& coordinator) {
  const auto& settings = context->settings.supervision;
  std::vector<child_spec> supervisors;
  for (auto& each : groups_of(context, coordinator)) {
    supervisor_options options;
    options.name = each.supervisor;
    options.intensity = settings.intensity;
    options.window = settings.window;
    options.backoff_first = settings.backoff_first;
    options.backoff_max = settings.backoff_max;
    options.jitter_seed = context->settings.training.seed;
    const auto patience = std::chrono::seconds{5} * (each.children.size() + 1);
    supervisors.push_back({each.supervisor,
                           [=, children = std::move(each.children)](caf::actor_system& sys, const child_context&) {
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
  const auto shared = std::make_shared<const job_context>(context);
  std::string text = "coordinator\n└── job\n";
  const auto groups = groups_of(shared, {});
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const bool last_group = g + 1 == groups.size();
    text += fmt::format("    {} {}\n", last_group ? "└──" : "├──", groups[g].supervisor);
    for (std::size_t c = 0; c < groups[g].children.size(); ++c)
      text += fmt::format("    {}   {} {}\n", last_group ? " " : "│",
                          c + 1 == groups[g].children.size() ? "└──" : "├──", groups[g].children[c].name);
  }
  return text;
}

roster::roster(const job_context& context)
    : shards(context.layout.shard_count()),
      loaders(context.lanes()),
      replicas(context.lanes()),
      shard_incarnations(context.layout.shard_count(), 0) {}

roster::place roster::find(const std::string& name) {
  if (name == "evaluator")
    return {role::evaluator, 0};
  if (name == "checkpoint_writer")
    return {role::writer, 0};
  const auto slash = name.find('/');
  if (slash == std::string::npos)
    return {};
  place found;
  const auto [end, error] = std::from_chars(name.data() + slash + 1, name.data() + name.size(), found.index);
  if (error != std::errc{} || end != name.data() + name.size())
    return {};
  const auto kind = std::string_view(name).substr(0, slash);
  found.what = kind == "shard"     ? role::shard
               : kind == "loader"  ? role::loader
               : kind == "replica" ? role::replica
                                   : role::other;
  return found;
}

caf::actor* roster::slot(place where) {
  const auto at = [&](std::vector<caf::actor>& table) {
    return where.index < table.size() ? &table[where.index] : nullptr;
  };
  switch (where.what) {
    case role::shard:
      return at(shards);
    case role::loader:
      return at(loaders);
    case role::replica:
      return at(replicas);
    case role::evaluator:
      return &evaluator;
    case role::writer:
      return &writer;
    case role::other:
      return nullptr;
  }
  return nullptr;
}

void roster::note(const child_event& event) {
  const auto where = find(event.child);
  auto* handle = slot(where);
  if (!handle)
    return;
  if (event.what == child_event::kind::started) {
    *handle = event.handle;
    if (where.what == role::shard)
      shard_incarnations[where.index] = event.incarnation;
  } else if (event.what == child_event::kind::ended || event.what == child_event::kind::stopped ||
             event.what == child_event::kind::abandoned) {
    *handle = {};
  }
}

bool roster::all_shards_alive() const {
  return std::all_of(shards.begin(), shards.end(), [](const auto& shard) { return static_cast<bool>(shard); });
}

caf::actor roster::handle(const std::string& name) const {
  const auto* found = const_cast<roster*>(this)->slot(find(name));
  return found ? *found : caf::actor{};
}

}  // namespace troupe
