#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "actors/coordinator_body.hpp"
#include "actors/job_journal.hpp"
#include "runtime/system.hpp"

namespace troupe {

namespace {

std::uint64_t next_multiple(std::uint64_t after, std::uint64_t every) {
  return every == 0 ? std::numeric_limits<std::uint64_t>::max() : (after / every + 1) * every;
}

}  // namespace

void coordinator::on(const evaluation_started& message) {
  if (message.epoch != epoch_ || evaluation_.step != message.step)
    return;
  evaluation_.holds_parameters = true;
  work_at_barrier();
}

void coordinator::on(const evaluation_done& message) {
  if (message.epoch != epoch_ || evaluation_.step != message.report.step)
    return;  // asked for again after a shard was lost
  evaluation_ = {};
  ++heard_;
  evaluated_ = message.report.step;
  log_->evaluation(message.report);
  work_at_barrier();
}

void coordinator::on(const snapshot_taken& message) {
  if (message.epoch != epoch_ || !cut_ || cut_->step != message.step)
    return;
  cut_->taken[message.shard] = true;
  kept_.note_own(message.shard, message.step);
  cut_->pause_seconds = std::max(cut_->pause_seconds, message.pause_seconds);
  cut_->taken_by_all = std::all_of(cut_->taken.begin(), cut_->taken.end(), [](bool taken) { return taken; });
  if (cut_->taken_by_all && context_->journal)
    context_->journal->note_cut({epoch_, message.step});
  work_at_barrier();
}

void coordinator::on(const cut_published& message) {
  if (message.epoch != epoch_ || !cut_ || cut_->step != message.step)
    return;
  log_->cut({message.step, message.path, message.size_bytes, cut_->pause_seconds, message.write_seconds});
  ++heard_;
  saved_ = message.step;
  cut_.reset();
  kept_.forget_before(message.step);
  for (const auto& keeper : alive_.keepers)
    tell(self_, keeper, drop_cuts{message.step});
  work_at_barrier();
}

void coordinator::on(const cut_failed& message) {
  if (message.epoch != epoch_ || !cut_ || cut_->step != message.step || cut_->failed)
    return;
  constexpr std::chrono::seconds pause{5};
  const auto what = fmt::format("the cut at step {} could not be saved: {}", message.step, message.fault);
  ++heard_;
  if (message.step != last_step_) {
    log_->cut_failed(what + "; the next one replaces it");
    unsaved_ = message.step;
    cut_.reset();
    return work_at_barrier();
  }
  const auto now = self_->clock().now();
  const auto retry_for = context_->settings.checkpoint.retry_for;
  if (!unsaved_since_)
    unsaved_since_ = now;
  if (now + pause > *unsaved_since_ + retry_for) {
    log_->cut_failed(what);
    return give_up(fmt::format("{}; what was trained since {} is lost", what,
                               saved_ ? fmt::format("the cut at step {}", *saved_) : "the beginning"));
  }
  log_->cut_failed(fmt::format("{}; trying again in {} s, for up to {} s", what, pause.count(), retry_for.count() / 1000));
  cut_->failed = true;
  run_later(self_, pause, [this, epoch = epoch_] {
    if (epoch != epoch_ || !cut_ || !cut_->failed)
      return;
    cut_.reset();
    work_at_barrier();
  });
}

void coordinator::on(const cut_kept& message) {
  if (message.epoch == epoch_ && self_->current_sender() == alive_.keepers[message.shard])
    kept_.note_kept(message.shard, message.step);
}

std::uint64_t coordinator::next_barrier(std::uint64_t after) const {
  const auto& settings = context_->settings;
  const auto cut_at = next_multiple(after, context_->store ? settings.checkpoint.every : 0);
  const auto evaluation_at = next_multiple(after, settings.evaluation.batches > 0 ? settings.evaluation.every : 0);
  return std::min({cut_at, evaluation_at, last_step_});
}

void coordinator::move_barrier(std::uint64_t step) {
  barrier_ = step;
  for (const auto& replica : alive_.replicas)
    if (replica)
      tell(self_, replica, run_until{epoch_, barrier_});
}

bool coordinator::evaluation_due() const {
  const auto& settings = context_->settings.evaluation;
  if (stopping_ || settings.batches == 0 || evaluated_ == barrier_)
    return false;
  return barrier_ == last_step_ || (barrier_ > 0 && settings.every > 0 && barrier_ % settings.every == 0);
}

bool coordinator::lacks_evaluation(std::uint64_t step) const {
  const auto& settings = context_->settings.evaluation;
  if (stopping_ || settings.batches == 0 || step == 0 || settings.every == 0 || step % settings.every != 0)
    return false;
  const auto& last = log_->summary().last_evaluation;
  return std::max(context_->inputs.evaluated, last ? std::optional(last->step) : std::nullopt) < step;
}

bool coordinator::cut_due() const {
  const auto& settings = context_->settings.checkpoint;
  if (!context_->store || saved_ == barrier_)
    return false;
  if (barrier_ == last_step_ && (settings.at_end || stopping_))
    return true;
  if (unsaved_ == barrier_)
    return false;
  return early_cut_at_ == barrier_ || (barrier_ > 0 && settings.every > 0 && barrier_ % settings.every == 0);
}

bool coordinator::served_evaluation() {
  if (!evaluation_due())
    return true;
  if (evaluation_.step == barrier_)
    return evaluation_.holds_parameters;
  if (evaluation_.step || !alive_.evaluator)
    return false;  // busy with the one before, or about to be started again
  evaluation_ = {barrier_, false};
  tell(self_, alive_.evaluator, evaluate{epoch_, barrier_, alive_.shards});
  return false;
}

bool coordinator::served_cut() {
  if (!cut_due())
    return true;
  if (cut_ && cut_->step != barrier_) {  // one is under way at a time
    tell_of_slow_cut();
    return false;
  }
  if (!alive_.writer)
    return false;
  if (!cut_)
    cut_ = cut_under_way{barrier_, std::vector<bool>(alive_.shards.size(), false)};
  if (!cut_->asked) {
    cut_->asked = true;
    for (std::uint32_t shard = 0; shard < alive_.shards.size(); ++shard) {
      kept_.note_own(shard, {});  // until it says what it holds now
      tell(self_, alive_.shards[shard], take_snapshot{epoch_, barrier_, alive_.writer});
    }
  }
  return cut_->taken_by_all;
}

void coordinator::tell_of_slow_cut() {
  const auto every = context_->settings.checkpoint.every;
  if (told_of_slow_cut_ || barrier_ == last_step_ || every == 0 || barrier_ % every != 0)
    return;
  told_of_slow_cut_ = true;
  log_->warning(fmt::format("training waits at step {} for the cut at step {} to be on disk, before it can take another; "
                            "checkpoint.every = {} is too few steps for this disk",
                            barrier_, cut_->step, every));
}

void coordinator::work_at_barrier() {
  if (ended_ || !paused_.empty() || !at_barrier() || !moving_.empty())
    return;
  const bool evaluation_served = served_evaluation();
  if (!served_cut() || !evaluation_served)
    return;
  if (early_cut_at_ == barrier_)
    early_cut_ = false;
  if (!served_moves())
    return;
  if (barrier_ < last_step_)
    return move_barrier(next_barrier(barrier_));
  if (cut_ || evaluation_.step || !final_.empty())
    return;  // the end waits for what is still being written and measured
  final_.assign(context_->model().parameters().size(), {});
  ++final_attempt_;
  for (const auto& shard : alive_.shards)
    tell(self_, shard, pull_parameters{epoch_, 0, barrier_, true, final_attempt_});
}

}  // namespace troupe
