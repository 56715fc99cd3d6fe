#include <algorithm>

#include <fmt/format.h>

#include "actors/coordinator_body.hpp"
#include "actors/job_journal.hpp"
#include "runtime/error.hpp"
#include "runtime/probe.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

void coordinator::on(const lane_stuck& message) {
  if (message.epoch != epoch_ || !alive_.all_shards_alive())
    return;
  probe("recovery: a lane was stuck between shards that did not agree");
  restore_all();
}

void coordinator::put_to_work(const child_event& event) {
  const auto where = role_of(event.child);
  switch (where.kind) {
    case role_kind::shard:
      return recover(where.index);
    case role_kind::keeper:
      return introduce_keeper(where.index);
    case role_kind::replica:
    case role_kind::loader:
      return begin_lane_of(where.index);
    case role_kind::evaluator:
      if (evaluation_.step && *evaluation_.step != barrier_)
        log_->warning(fmt::format("the evaluation at step {} was lost with the evaluator", *evaluation_.step));
      evaluation_ = {};
      return work_at_barrier();
    case role_kind::writer:
      if (cut_)
        probe("coordinator: a cut was lost with its writer");
      if (cut_ && cut_->step != barrier_)
        log_->warning(fmt::format("the cut at step {} was lost with the checkpoint writer; the next one replaces it",
                                  cut_->step));
      cut_.reset();
      return work_at_barrier();
    case role_kind::survivor:
    case role_kind::other:
      return;
  }
}

void coordinator::on(const restore_failed& message) {
  if (message.epoch != epoch_ || restoring_.count(message.shard) == 0)
    return;
  probe("recovery: a part of a cut was not where it was thought to be");
  log_->warning(fmt::format("shard/{}: {}; another copy of a cut is used", message.shard, message.fault));
  if (restoring_[message.shard].source == restore_source::survivor) {
    forget_survivor(message.shard, survivor_of(message.shard));
  } else {
    kept_.note_own(message.shard, {});
    kept_.forget_keeper(message.shard);
  }
  recover(message.shard);
}

void coordinator::note_end(role who) {
  if (who.kind == role_kind::shard) {
    kept_.note_own(who.index, {});
    restoring_.erase(who.index);
  } else if (who.kind == role_kind::keeper) {
    kept_.forget_keeper(who.index);
    if (backed_up_.erase(who.index) > 0)
      probe("recovery: a backup was lost");
    const auto waits = restoring_.find(who.index);
    if (waits != restoring_.end() && (waits->second.source == restore_source::neighbour ||
                                      waits->second.source == restore_source::backup))
      recover(who.index);  // it may wait in vain
  }
}

void coordinator::recover(std::uint32_t shard) {
  unrestored_.insert(shard);
  if (!alive_.all_shards_alive())
    return;
  const bool all_backed_up =
      std::includes(backed_up_.begin(), backed_up_.end(), unrestored_.begin(), unrestored_.end());
  if (epoch_ > 0 && context_->replicated() && !all_backed_up)
    probe("recovery: a shard was lost together with its backup");
  if (epoch_ == 0 || (context_->sync() && !all_backed_up))
    restore_all();
  else
    restore_lost();
}

std::optional<std::uint64_t> coordinator::newest_on_disk() const {
  const auto steps = context_->store ? context_->store->steps() : std::vector<std::uint64_t>{};
  return steps.empty() ? std::nullopt : std::optional(steps.back());
}

std::optional<cut> coordinator::read_newest() {
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

/// Where the cut of `step` is in nodes' memory alone, against the newest on disk: it was computed like that.
void coordinator::warn_of_other_arithmetic(std::uint64_t step) {
  const auto on_disk = context_->store ? context_->store->steps() : std::vector<std::uint64_t>{};
  if (on_disk.empty() || !context_->settings.repeats_exactly() || context_->arithmetic.empty())
    return;
  const bool is_there = std::find(on_disk.begin(), on_disk.end(), step) != on_disk.end();
  try {
    const auto manifest = read_manifest(context_->store->path_of(is_there ? step : on_disk.back()));
    const auto before = manifest.documents.find("arithmetic");
    if (before != manifest.documents.end() && before->second != context_->arithmetic)
      log_->warning(fmt::format("the run was computed with {} up to step {}, and goes on with {}: from here on its bits may "
                                "differ from those of a run that was not interrupted",
                                before->second, manifest.step, context_->arithmetic));
  } catch (const input_error&) {
    // Whoever reads it for its tensors reports it.
  }
}

void coordinator::meet_survivors() {
  const auto cut = context_->journal ? context_->journal->in_memory() : std::nullopt;
  if (!cut || !places_.survivors || is_on_disk_otherwise(*cut))
    return;
  survivors_ = places_.survivors(me_, own_.incarnation);
  for (const auto& each : survivors_) {
    self_->monitor(each.holder);
    kept_.note_survives(each.shard, cut->step);
  }
}

caf::actor coordinator::survivor_of(std::uint32_t shard) const {
  const auto found = std::find_if(survivors_.begin(), survivors_.end(),
                                  [shard](const survivor& each) { return each.shard == shard; });
  return found == survivors_.end() ? caf::actor{} : found->holder;
}

void coordinator::forget_survivor(std::uint32_t shard, const caf::actor& holder) {
  std::erase_if(survivors_, [&](const survivor& each) { return each.shard == shard && each.holder == holder; });
  if (!survivor_of(shard))
    kept_.note_survives(shard, {});
}

void coordinator::lose_survivor(const caf::actor_addr& whose) {
  std::optional<std::uint32_t> waits;
  for (const auto& each : std::vector(survivors_)) {
    if (each.holder.address() != whose)
      continue;
    forget_survivor(each.shard, each.holder);
    const auto found = restoring_.find(each.shard);
    if (found == restoring_.end() || found->second.source != restore_source::survivor)
      continue;
    waits = each.shard;
    unrestored_.insert(each.shard);
  }
  if (!waits)
    return;
  probe("recovery: what outlived the last head was lost while a shard waited for it");
  recover(*waits);
}

/// In bounded and async mode that is another cut: parts of the two do not belong together.
bool coordinator::is_on_disk_otherwise(const cut_id& which) const {
  try {
    return context_->store && read_manifest(context_->store->path_of(which.step)).epoch != which.epoch;
  } catch (const input_error&) {
    return false;  // not there, or of no use
  }
}

void coordinator::restore_all() {
  if (epoch_ > 0)
    probe("coordinator: all shards went back to a cut");
  else
    meet_survivors();
  auto step = kept_.newest_of_all();
  std::vector<shard_origin> on_disk;
  if (newest_on_disk() > step) {  // in part it may be in memory all the same
    if (const auto found = read_newest(); found && found->manifest.step >= step) {
      step = found->manifest.step;
      on_disk = split_cut(*found, context_->model().parameters(), context_->layout);
    } else if (!found && !step) {  // the beginning is not what these were made from, as far as anybody knows
      throw input_error(fmt::format("{}: none of the {} checkpoints is good; put one back, or start over in another folder",
                                    context_->inputs.checkpoints.string(), context_->store->steps().size()));
    }
  }
  const auto from = step.value_or(0);
  if (!survivors_.empty() && !kept_.newest_of_all())
    probe("recovery: a cut outlived the last head in part only");
  epoch_ = context_->journal ? context_->journal->begin_epoch(from) : epoch_ + 1;
  ledger_.restart(from);
  if (evaluation_.step && *evaluation_.step < from)
    log_->warning(fmt::format("the evaluation at step {} was lost in a rollback", *evaluation_.step));
  evaluation_ = {};
  cut_.reset();
  final_.clear();
  saved_ = newest_on_disk() == step ? step : std::nullopt;
  paused_.clear();
  early_cut_at_.reset();
  if (early_cut_ || !leaving_.empty())
    paused_.assign(context_->lanes(), {});
  const bool after_loss = log_->begun();
  if (!after_loss)
    warn_of_other_arithmetic(from);
  log_->restored(from);
  kept_.forget_after(from);
  backed_up_.clear();
  unrestored_.clear();
  restoring_.clear();
  for (std::uint32_t shard = 0; shard < alive_.shards.size(); ++shard)
    restore(shard, step, on_disk, after_loss);
  last_step_ = stopping_ ? from : std::max(from, context_->settings.training.steps);
  barrier_ = lacks_evaluation(from) ? from : next_barrier(from);
  for (std::uint32_t lane = 0; lane < context_->lanes(); ++lane)
    begin_lane_of(lane);
}

void coordinator::restore_lost() {
  probe("coordinator: a lost shard went back alone, and lanes replay for it");
  std::vector<shard_origin> on_disk;
  std::optional<std::uint64_t> disk_step;
  const auto needs_disk = [this](std::uint32_t shard) {
    return backed_up_.count(shard) == 0 && newest_on_disk() > kept_.newest_kept(shard);
  };
  if (std::any_of(unrestored_.begin(), unrestored_.end(), needs_disk))
    if (const auto found = read_newest()) {
      disk_step = found->manifest.step;
      on_disk = split_cut(*found, context_->model().parameters(), context_->layout);
    }
  const auto lost = std::exchange(unrestored_, {});
  for (const auto shard : lost) {
    ledger_.forget(shard);
    if (backed_up_.erase(shard) > 0)
      take_over(shard, lost);
    else
      restore(shard, std::max(disk_step, kept_.newest_kept(shard)), on_disk, true);
  }
  // What the lost shards had not answered yet is asked again when all lanes stand at the barrier again.
  final_.clear();
  if (cut_ && cut_->step == barrier_)
    cut_.reset();
  if (evaluation_.step == barrier_)
    evaluation_ = {};
  for (std::uint32_t lane = 0; lane < context_->lanes(); ++lane)
    begin_lane_of(lane);
}

void coordinator::restore(std::uint32_t shard, std::optional<std::uint64_t> step, std::vector<shard_origin>& on_disk,
                          bool after_loss) {
  restore_shard message{epoch_, restore_source::beginning, step.value_or(0), {}, {}, alive_.shards};
  if (step && kept_.has_own(shard, *step)) {
    message.source = restore_source::own_memory;
  } else if (step && kept_.is_kept(shard, *step)) {
    message.source = restore_source::neighbour;
    message.keeper = alive_.keepers[shard];
  } else if (step && kept_.survives(shard, *step)) {
    probe("recovery: a shard went on from what outlived the last head");
    message.source = restore_source::survivor;
    message.keeper = survivor_of(shard);
  } else if (step) {
    message.source = restore_source::disk;
    message.from = std::move(on_disk[shard]);
  }
  kept_.note_own(shard, {});  // until it says what it holds now
  restoring_[shard] = {message.source, after_loss};
  tell(self_, alive_.shards[shard], std::move(message));
}

void coordinator::take_over(std::uint32_t shard, const std::set<std::uint32_t>& lost) {
  if (cut_)
    probe("recovery: a backup took over while a cut was under way");
  if (!leaving_.empty())
    probe("recovery: a backup took over during a drain");
  restoring_[shard] = {restore_source::backup, true};
  tell(self_, alive_.shards[shard],
       restore_shard{epoch_, restore_source::backup, 0, {}, alive_.keepers[shard], alive_.shards});
  for (std::uint32_t other = 0; other < alive_.shards.size(); ++other)
    if (lost.count(other) == 0)
      tell(self_, alive_.shards[other], meet_shard{epoch_, shard, alive_.shards[shard]});
}

void coordinator::end_restore(const shard_report& report) {
  const auto done = restoring_.extract(report.shard);
  if (!done)
    return;
  if (done.mapped().after_loss || done.mapped().source == restore_source::survivor)
    log_->restored({report.shard, report.steps_done, done.mapped().source});
  if (!restoring_.empty())
    return;
  settle_keepers();
  for (std::uint32_t shard = 0; shard < alive_.shards.size(); ++shard)
    introduce_keeper(shard);
  dismiss_survivors();
}

void coordinator::dismiss_survivors() {
  for (const auto& each : std::exchange(survivors_, {})) {
    kept_.note_survives(each.shard, {});
    send_exit(each.holder, caf::exit_reason::user_shutdown);
  }
  tell(self_, places_.membership, cut_restored{});
}

void coordinator::introduce_keeper(std::uint32_t shard) {
  if (epoch_ > 0 && restoring_.empty() && unrestored_.count(shard) == 0)
    if (const auto& keeper = alive_.keepers[shard])
      tell(self_, alive_.shards[shard], meet_keeper{epoch_, keeper, kept_.newest_kept(shard)});
}

void coordinator::on(const backup_begun& message) {
  if (message.epoch == epoch_ && self_->current_sender() == alive_.shards[message.shard] &&
      message.keeper == alive_.keepers[message.shard])
    backed_up_.insert(message.shard);
}

/// The link between the two, where the keeper itself still lives.
void coordinator::on(const backup_lost& message) {
  if (message.epoch == epoch_ && message.keeper == alive_.keepers[message.shard])
    backed_up_.erase(message.shard);
}

void coordinator::settle_keepers() {
  if (!places_.settle_keepers)
    return;
  for (const auto& name : places_.settle_keepers()) {
    auto& keeper = alive_.keepers[role_of(name).index];
    if (!keeper)
      continue;
    send_exit(std::exchange(keeper, {}), make_error(errc::moved, name + ": moves to another node"));
    note_end(role_of(name));
  }
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
