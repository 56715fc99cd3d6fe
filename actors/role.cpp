#include "actors/role.hpp"

#include <charconv>

#include <fmt/format.h>

#include "actors/checkpoint_writer.hpp"
#include "actors/data_loader.hpp"
#include "actors/evaluator.hpp"
#include "actors/keeper.hpp"
#include "actors/parameter_shard.hpp"
#include "actors/replica.hpp"
#include "actors/surviving_cuts.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

struct named_kind {
  const char* name;
  role_kind kind;
  bool numbered;
};

constexpr named_kind kinds[] = {
    {"shard", role_kind::shard, true},
    {"keeper", role_kind::keeper, true},
    {"loader", role_kind::loader, true},
    {"replica", role_kind::replica, true},
    {"evaluator", role_kind::evaluator, false},
    {"checkpoint_writer", role_kind::writer, false},
    {"survivor", role_kind::survivor, false},
};

}  // namespace

std::string name_of(role which) {
  for (const auto& each : kinds)
    if (each.kind == which.kind)
      return each.numbered ? fmt::format("{}/{}", each.name, which.index) : each.name;
  return {};
}

role role_of(const std::string& name) {
  const auto slash = name.find('/');
  const auto kind = std::string_view(name).substr(0, slash);
  for (const auto& each : kinds) {
    if (each.name != kind || each.numbered != (slash != std::string::npos))
      continue;
    role found{each.kind, 0};
    if (!each.numbered)
      return found;
    const auto* last = name.data() + name.size();
    const auto [end, error] = std::from_chars(name.data() + slash + 1, last, found.index);
    if (error == std::errc{} && end == last)
      return found;
  }
  return {};
}

caf::actor spawn_role(caf::actor_system& system, const job_context_ptr& context, role which, std::uint64_t incarnation,
                      const caf::actor& coordinator) {
  const bool of_shard = which.kind == role_kind::shard || which.kind == role_kind::keeper;
  const auto count = of_shard ? context->layout.shard_count() : context->lanes();
  if (which.index >= count)
    throw input_error(fmt::format("{}: this job has {} of them", name_of(which), count));
  switch (which.kind) {
    case role_kind::shard:
      context->on->of_shard(which.index);
      return spawn_parameter_shard(system, context, which.index, coordinator);
    case role_kind::keeper:
      return spawn_keeper(system, context, which.index, coordinator);
    case role_kind::loader:
      return spawn_data_loader(system, context);
    case role_kind::replica:
      context->on->of_lane(which.index);
      return spawn_replica(system, context, which.index, incarnation, coordinator);
    case role_kind::evaluator:
      return spawn_evaluator(system, context, coordinator);
    case role_kind::writer:
      return spawn_checkpoint_writer(system, context, coordinator);
    case role_kind::survivor:
      return context->survivors ? spawn_survivor(system, context, coordinator) : caf::actor{};
    case role_kind::other:
      break;
  }
  return {};
}

role_spawner spawn_here(job_context_ptr context) {
  return [context = std::move(context)](caf::actor_system& system, const child_context& child,
                                        const caf::actor& coordinator) {
    return spawn_role(system, context, role_of(child.name), child.incarnation, coordinator);
  };
}

}  // namespace troupe
