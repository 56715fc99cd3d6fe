#include <algorithm>

#include <fmt/format.h>

#include "actors/coordinator_body.hpp"
#include "runtime/error.hpp"
#include "runtime/probe.hpp"
#include "runtime/system.hpp"

namespace troupe {

void coordinator::on(const lane_stuck& message) {
  if (message.epoch == epoch_ && alive_.all_shards_alive())
    restore_all();
}

void coordinator::put_to_work(const child_event& event) {
  const auto where = role_of(event.child);
  switch (where.kind) {
    case role_kind::shard:
      return recover(where.index);
    case role_kind::replica:
    case role_kind::loader:
      return begin_lane_of(where.index);
    case role_kind::evaluator:
      if (evaluation_.step && *evaluation_.step != barrier_)
        log_->warning(fmt::format("the evaluation at step {} was lost with the evaluator", *evaluation_.step));
      evaluation_ = {};
      return work_at_barrier();
    case role_kind::writer:
      if (cut_ && cut_->step != barrier_)
        log_->warning(fmt::format("the cut at step {} was lost with the checkpoint writer; the next one replaces it",
                                  cut_->step));
      cut_.reset();
      return work_at_barrier();
    case role_kind::other:
      return;
  }
}

void coordinator::recover(std::uint32_t shard) {
  unrestored_.insert(shard);
  if (!alive_.all_shards_alive())
    return;
  if (epoch_ == 0 || context_->sync())
    restore_all();
  else
    restore_lost();
}

std::optional<cut> coordinator::newest_cut() {
  if (!context_->store)
    return {};
  auto found = context_->store->latest([this](const std::string& message) { log_->warning(message); });
  if (!found)
    return {};
  const auto& documents = found->manifest.documents;
  const auto data = documents.find("data");  // a cut that was imported names none
  if (data != documents.end() && data->second != context_->inputs.data->fingerprint())
    throw input_error(fmt::format("{}: was trained on other data, or with another tokenizer, split or order; resume "
                                  "with the data settings it was written with",
                                  found->path.string()));
  return found;
}

void coordinator::restore_all() {
  if (epoch_ > 0)
    probe("coordinator: all shards went back to a cut");
  const auto from = newest_cut();
  const auto step = from ? from->manifest.step : 0;
  ++epoch_;
  ledger_.restart(step);
  evaluation_ = {};
  cut_.reset();
  final_.clear();
  saved_ = from ? std::optional(step) : std::nullopt;
  paused_.clear();
  early_cut_at_.reset();
  if (early_cut_ || !leaving_.empty())
    paused_.assign(context_->lanes(), {});
  log_->restored(step);
  for (std::uint32_t shard = 0; shard < alive_.shards.size(); ++shard)
    unrestored_.insert(shard);
  restore_shards(from);
  last_step_ = stopping_ ? step : std::max(step, context_->settings.training.steps);
  barrier_ = next_barrier(step);
  for (std::uint32_t lane = 0; lane < context_->lanes(); ++lane)
    begin_lane_of(lane);
}

void coordinator::restore_lost() {
  probe("coordinator: a lost shard went back alone, and lanes replay for it");
  for (const auto shard : unrestored_)
    ledger_.forget(shard);
  restore_shards(newest_cut());
  // What the lost shards had not answered yet is asked again when all lanes stand at the barrier again.
  final_.clear();
  if (cut_ && cut_->step == barrier_)
    cut_.reset();
  if (evaluation_.step == barrier_)
    evaluation_ = {};
  for (std::uint32_t lane = 0; lane < context_->lanes(); ++lane)
    begin_lane_of(lane);
}

void coordinator::restore_shards(const std::optional<cut>& from) {
  std::vector<shard_origin> origins;
  if (from)
    origins = split_cut(*from, context_->model().parameters(), context_->layout);
  for (const auto shard : unrestored_)
    tell(self_, alive_.shards[shard],
         restore_shard{epoch_, from ? std::optional(std::move(origins[shard])) : std::nullopt, alive_.shards});
  unrestored_.clear();
}

void coordinator::begin_lane_of(std::uint32_t lane) {
  if (epoch_ == 0 || !alive_.all_shards_alive() || !alive_.replicas[lane] || !alive_.loaders[lane])
    return;
  const bool pausing = !paused_.empty();
  tell(self_, alive_.replicas[lane],
       begin_lane{epoch_, pausing ? 0 : barrier_, alive_.shards, alive_.loaders[lane]});
  if (pausing)
    tell(self_, alive_.replicas[lane], pause_lane{epoch_});
}

}  // namespace troupe
