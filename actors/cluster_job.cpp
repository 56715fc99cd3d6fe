#include "actors/cluster_job.hpp"

#include <set>

#include <fmt/format.h>

#include "actors/checkpoint_writer.hpp"
#include "actors/coordinator.hpp"
#include "actors/data_loader.hpp"
#include "actors/evaluator.hpp"
#include "actors/job_journal.hpp"
#include "actors/job_memory.hpp"
#include "actors/keeper.hpp"
#include "actors/kept_cuts.hpp"
#include "actors/parameter_shard.hpp"
#include "actors/replica.hpp"
#include "actors/surviving_cuts.hpp"
#include "runtime/tensor/device_module.hpp"

namespace troupe {

message_codecs job_codecs() {
  message_codecs all;
  add_cluster_codecs(all);
  all.add<restore_shard>("restore_shard");
  all.add<query_lane>("query_lane");
  all.add<pull_parameters>("pull_parameters");
  all.add<push_gradient>("push_gradient");
  all.add<complete_step>("complete_step");
  all.add<norm_part>("norm_part");
  all.add<take_snapshot>("take_snapshot");
  all.add<lane_due>("lane_due");
  all.add<parameters>("parameters");
  all.add<pull_too_late>("pull_too_late");
  all.add<shard_report>("shard_report");
  all.add<snapshot_taken>("snapshot_taken");
  all.add<restore_failed>("restore_failed");
  all.add<meet_keeper>("meet_keeper");
  all.add<keep_cut>("keep_cut");
  all.add<fetch_cut>("fetch_cut");
  all.add<drop_cuts>("drop_cuts");
  all.add<kept_part>("kept_part");
  all.add<cut_kept>("cut_kept");
  all.add<begin_backup_of>("begin_backup_of");
  all.add<backup_ready>("backup_ready");
  all.add<backup_begun>("backup_begun");
  all.add<backup_update>("backup_update");
  all.add<update_received>("update_received");
  all.add<backup_factors>("backup_factors");
  all.add<fetch_state>("fetch_state");
  all.add<kept_state>("kept_state");
  all.add<backup_lost>("backup_lost");
  all.add<norms_again>("norms_again");
  all.add<meet_shard>("meet_shard");
  all.add<begin_lane>("begin_lane");
  all.add<run_until>("run_until");
  all.add<pause_lane>("pause_lane");
  all.add<lane_paused>("lane_paused");
  all.add<lane_report>("lane_report");
  all.add<lane_stuck>("lane_stuck");
  all.add<read_lane_batch>("read_lane_batch");
  all.add<lane_batch>("lane_batch");
  all.add<evaluate>("evaluate");
  all.add<evaluation_started>("evaluation_started");
  all.add<evaluation_done>("evaluation_done");
  all.add<write_part>("write_part");
  all.add<cut_published>("cut_published");
  return all;
}

placement_demands demands_of(const job_context& context) {
  const auto hardware = hardware_of(context.settings);
  const auto memory = predict_memory(context.model(), context.settings, context.inputs.context, hardware);
  const auto& space = context.model().parameters();
  const auto elements = static_cast<double>(std::max<std::int64_t>(space.count(), 1));
  const auto owned_bytes = static_cast<double>(memory.parameters_bytes + memory.optimizer_bytes);
  placement_demands demands;
  for (std::uint32_t shard = 0; shard < context.layout.shard_count(); ++shard) {
    std::int64_t count = 0;
    for (auto i = context.layout.first(shard); i < context.layout.last(shard); ++i)
      count += space[i].count();
    demands.shard_bytes.push_back(static_cast<std::uint64_t>(owned_bytes * static_cast<double>(count) / elements));
    // Cuts are in the host's memory: where that is not what shards and lanes take, it goes uncounted.
    const auto copies = (hardware.is_host ? kept_cuts_max : 0) + (context.replicated() ? 1 : 0);
    demands.keeper_bytes.push_back(copies * demands.shard_bytes.back());
  }
  // A lane holds a copy of the parameters where no shard shares its process.
  const compute_demand lane{static_cast<double>(context.settings.runtime.threads),
                            memory.parameters_bytes +
                                (memory.working_bytes + memory.gradients_bytes + memory.activations_bytes) / context.lanes()};
  demands.lanes.assign(context.lanes(), lane);
  if (context.settings.evaluation.batches > 0)
    demands.evaluator = compute_demand{lane.cores, memory.parameters_bytes + memory.evaluation_bytes};
  return demands;
}

namespace {

node_id home_of(cluster_board& board, role who) {
  switch (who.kind) {
    case role_kind::shard:
      return board.home_of_shard(who.index);
    case role_kind::keeper:
      return board.home_of_keeper(who.index);
    case role_kind::loader:
    case role_kind::replica:
      return board.home_of_lane(who.index);
    case role_kind::evaluator:
      return board.home_of_evaluator();
    case role_kind::writer:
    case role_kind::survivor:
    case role_kind::other:
      break;
  }
  return head_node;
}

/// 0 where the host computes.
std::uint64_t device_memory_bytes(const job_context& context) {
  std::uint64_t bytes = 0;
  if (is_cuda(context.settings.runtime.device))
    for (const int index : find_cuda(context.settings.runtime.device))
      bytes += cuda_module().facts(index).memory_bytes;
  return bytes;
}

std::optional<link_means> link_means_of(const job_settings& settings) {
  if (!is_cuda(settings.runtime.device) || settings.cluster.gpu_links == gpu_link_kind::off)
    return {};
  try {
    return link_means{cuda_module().channels(find_cuda(settings.runtime.device).front())};
  } catch (const device_error& fault) {
    return link_means{{}, fault.what()};
  }
}

}  // namespace

job_places places_on(std::shared_ptr<cluster_head> head, job_context_ptr context) {
  job_places places;
  places.spawn = [head, context](caf::actor_system& system, const child_context& child, const caf::actor& coordinator) {
    const auto who = role_of(child.name);
    if (who.kind == role_kind::writer)
      return spawn_role(system, context, who, child.incarnation, coordinator);
    return head->spawn_on(home_of(head->board(), who), {child.name, child.incarnation, coordinator});
  };
  places.rebalance = [head] {
    const auto moves = head->board().rebalance();
    std::vector<std::string> names;
    for (const auto shard : moves.shards)
      names.push_back(name_of({role_kind::shard, shard}));
    for (const auto lane : moves.lanes) {
      names.push_back(name_of({role_kind::replica, lane}));
      names.push_back(name_of({role_kind::loader, lane}));
    }
    if (moves.evaluator)
      names.push_back(name_of({role_kind::evaluator}));
    return names;
  };
  places.note_step = [head](std::uint32_t lane, double seconds) { head->board().note_step(lane, seconds); };
  places.look_at_speeds = [head](std::chrono::steady_clock::time_point now) { return head->board().look_at_speeds(now); };
  places.settle_keepers = [head] {
    std::vector<std::string> names;
    for (const auto shard : head->board().settle_keepers())
      names.push_back(name_of({role_kind::keeper, shard}));
    return names;
  };
  places.describe = [head](const std::string& actor) {
    const auto home = home_of(head->board(), role_of(actor));
    return home == head_node ? std::string{"the head"} : fmt::format("node {}", home);
  };
  places.membership = head->membership();
  places.survivors = [head, shards = context->layout.shard_count()](const caf::actor& coordinator,
                                                                    std::uint64_t incarnation) {
    std::vector<survivor> found;
    for (const auto& node : head->board().nodes()) {
      if (node.kept.empty() || node.state == node_state::gone)
        continue;
      const auto holder = head->spawn_on(node.id, {name_of({role_kind::survivor}), incarnation, coordinator});
      for (const auto shard : node.kept)
        if (shard < shards)
          found.push_back({shard, holder});
    }
    return found;
  };
  return places;
}

local_spawner spawner_for(job_context_ptr context) {
  return [context = std::move(context)](caf::actor_system& system, const spawn_actor& what) {
    return spawn_role(system, context, role_of(what.name), what.incarnation, what.owner);
  };
}

prepared_job prepare_with(std::shared_ptr<surviving_cuts> survivors, const job_context& context,
                          const prepare_job& what) {
  survivors->serve(what.from_before);
  auto mine = context;
  if (!what.from_before.run.empty())
    mine.survivors = survivors;
  const auto memory_bytes = device_memory_bytes(mine);
  auto spawn = spawner_for(std::make_shared<const job_context>(std::move(mine)));
  return {std::move(spawn), memory_bytes, context.arithmetic, survivors->shards(), [survivors] { survivors->clear(); },
          link_means_of(context.settings)};
}

inheritance inheritance_of(const job_context& context) {
  if (!context.journal)
    return {};
  // Where a run is resumed with other shards, parts of the old ones are none of the new ones'.
  return {fmt::format("{} {} {}", context.journal->run(), context.inputs.data->fingerprint(),
                      context.layout.shard_count()),
          context.journal->in_memory()};
}

std::vector<std::uint32_t> shards_not_kept(const cluster_board& board, const job_context& context) {
  std::set<std::uint32_t> kept;
  for (const auto& node : board.nodes())
    if (node.state != node_state::gone)
      kept.insert(node.kept.begin(), node.kept.end());
  std::vector<std::uint32_t> missing;
  for (std::uint32_t shard = 0; shard < context.layout.shard_count(); ++shard)
    if (kept.count(shard) == 0)
      missing.push_back(shard);
  return missing;
}

std::vector<job_document> to_documents(const std::map<std::string, std::string>& named) {
  std::vector<job_document> documents;
  for (const auto& [name, content] : named)
    documents.push_back({name, content});
  return documents;
}

std::map<std::string, std::string> from_documents(const std::vector<job_document>& documents) {
  std::map<std::string, std::string> named;
  for (const auto& each : documents)
    named[each.name] = each.content;
  return named;
}

}  // namespace troupe
