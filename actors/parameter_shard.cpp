#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "actors/chaos.hpp"
#include "actors/checkpoint_writer.hpp"
#include "actors/job_memory.hpp"
#include "actors/parameter_shard_body.hpp"
#include "actors/spawn_in_lane.hpp"
#include "actors/surviving_cuts.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

parameter_shard::parameter_shard(parameter_shard_actor::pointer self, job_context_ptr context, std::uint32_t index,
                                 caf::actor coordinator)
    : self_(self),
      context_(std::move(context)),
      index_(index),
      coordinator_(std::move(coordinator)),
      memory_(context_, index),
      lanes_(context_->lanes()),
      norms_(context_->layout.shard_count()) {
  self_->set_down_handler([this](const caf::down_msg& down) {
    if (!keeper_ || down.source != keeper_.address())
      return;
    if (has_backup_)
      tell(self_, coordinator_, backup_lost{epoch_, index_, keeper_});
    part_from_keeper();
  });
}

std::uint64_t parameter_shard::steps_done() const noexcept {
  return std::min_element(lanes_.begin(), lanes_.end(), [](const auto& a, const auto& b) {
           return a.next_step < b.next_step;
         })->next_step;
}

std::uint64_t parameter_shard::version_of(const shard_origin& from) const noexcept {
  return context_->sync() ? from.cut.step : from.cut.step * lanes_.size();
}

// -- where it starts from ---------------------------------------------------------

void parameter_shard::on(const restore_shard& message) {
  if (ready_ && message.epoch <= epoch_)
    return;
  epoch_ = message.epoch;
  shards_ = message.shards;
  keeper_ = {};
  has_backup_ = ready_ = false;
  unconfirmed_ = 0;
  pulls_.clear();
  norms_.restart();
  results_.clear();
  recent_.clear();
  pending_.reset();
  switch (message.source) {
    case restore_source::beginning:
      held_.reset();
      return restore_beginning();
    case restore_source::own_memory:
      if (!held_ || held_->cut.step != message.step)
        return fail_restore(fmt::format("it does not hold the cut at step {} any more", message.step));
      return restore(*held_);
    case restore_source::neighbour:
    case restore_source::survivor:
      return tell(self_, message.keeper, fetch_cut{epoch_, index_, message.step});
    case restore_source::backup:
      return tell(self_, message.keeper, fetch_state{epoch_});
    case restore_source::disk:
      held_.reset();
      // Where cuts are taken while training goes on, memory for one is there, and was accounted for.
      if (what_is_held(context_->settings).of_cuts)
        held_ = *message.from;
      return restore(*message.from);
  }
}

void parameter_shard::on(kept_part& message) {
  if (ready_ || message.epoch != epoch_)
    return;
  if (!message.held)
    return fail_restore("its part of the cut is not kept any more where it was");
  if (!is_intact(*message.held))
    return fail_restore(fmt::format("its part of the cut at step {} is not what it was when it was kept",
                                    message.held->cut.step));
  hold_kept(std::move(*message.held));
  restore(*held_);
}

void parameter_shard::on(kept_state& message) {
  if (ready_ || message.epoch != epoch_)
    return;
  if (!message.state)
    return fail_restore("its backup does not hold its state any more");
  if (message.cut)
    hold_kept(std::move(*message.cut));
  take_over(std::move(*message.state));
}

void parameter_shard::hold_kept(held_part&& kept) {
  held_ = shard_origin{"a neighbour's memory", kept.cut, std::move(kept.part.applied), std::move(kept.part.tensors)};
}

void parameter_shard::restore_beginning() {
  memory_.initialize();
  lanes_.assign(lanes_.size(), {});
  version_ = 0;
  serve();
}

void parameter_shard::restore(const shard_origin& from) {
  memory_.restore(from);
  // Lanes stand level in every cut (the coordinator takes them at barriers), so another number of lanes can go on.
  for (auto& lane : lanes_)
    lane.next_step = lane.applied = from.cut.step;
  if (from.applied.size() == lanes_.size())
    for (const auto& each : from.applied)
      lanes_[each.lane].applied = each.applied;
  version_ = version_of(from);
  serve();
}

void parameter_shard::take_over(shard_state&& from) {
  memory_.restore({"its backup", {epoch_, from.now.version}, {}, std::move(from.now.tensors)});
  version_ = from.now.version;
  for (const auto& each : from.now.applied) {
    lanes_[each.lane].next_step = each.next_step;
    lanes_[each.lane].applied = each.applied;
  }
  last_ = from.last;
  results_ = std::move(from.results);
  for (const auto& part : from.norms)
    norms_.add_own(part);
  serve();
  pending_ = std::move(from.pending);
  if (pending_) {
    for (auto& gradient : pending_->gradients)
      gradient = memory_.here(gradient);
    norms_.add_own(*pending_->norm);
  }
  if (context_->sync())
    for (std::uint32_t other = 0; other < shards_.size(); ++other)
      if (other != index_)
        tell(self_, shards_[other], norms_again{epoch_, norms_.own(), true});
  finish_step();
}

void parameter_shard::serve() {
  for (auto& lane : lanes_) {
    lane.gradients.assign(memory_.size(), {});
    lane.completed.reset();
    lane.read.clear();
  }
  ready_ = true;
  report();
  answer_queries();
}

void parameter_shard::fail_restore(std::string fault) {
  tell(self_, coordinator_, restore_failed{epoch_, index_, std::move(fault)});
}

// -- its copies -----------------------------------------------------------------------

std::vector<lane_progress> parameter_shard::progress() const {
  std::vector<lane_progress> all;
  for (std::uint32_t lane = 0; lane < lanes_.size(); ++lane)
    all.push_back({lane, lanes_[lane].next_step, lanes_[lane].applied});
  return all;
}

void parameter_shard::on(const take_snapshot& message) {
  const bool level = std::all_of(lanes_.begin(), lanes_.end(),
                                 [&](const auto& lane) { return lane.next_step == message.step; });
  if (!ready_ || message.epoch != epoch_ || !level)
    return;
  const auto begin = std::chrono::steady_clock::now();
  shard_snapshot part{index_, version_, progress(), memory_.snapshot()};
  held_ = shard_origin{"its own memory", {epoch_, message.step}, part.applied, part.tensors};
  give_to_keeper();
  tell(self_, message.writer, write_part{message.epoch, message.step, std::move(part)});
  const std::chrono::duration<double> pause = std::chrono::steady_clock::now() - begin;
  tell(self_, coordinator_, snapshot_taken{epoch_, message.step, index_, pause.count()});
}

void parameter_shard::on(const meet_keeper& message) {
  if (message.epoch != epoch_ || !ready_ || message.keeper == keeper_)
    return;
  part_from_keeper();  // whose end may not be known here yet
  keeper_ = message.keeper;
  kept_ = message.kept;
  self_->monitor(keeper_);
  begin_backup();
  give_to_keeper();
}

void parameter_shard::give_to_keeper() {
  if (!keeper_ || !held_ || kept_ == held_->cut.step)
    return;
  kept_ = held_->cut.step;
  keep_cut message{epoch_, held_->cut, {}};
  // A backup that stands where the cut was taken has it already.
  if (!has_backup_ || version_ != version_of(*held_))
    message.part = held_snapshot();
  tell(self_, keeper_, std::move(message));
}

shard_snapshot parameter_shard::held_snapshot() const {
  return {index_, version_of(*held_), held_->applied, held_->tensors};
}

void parameter_shard::begin_backup() {
  if (!context_->replicated() || !keeper_ || has_backup_ || pending_)
    return;
  has_backup_ = true;
  tell(self_, keeper_,
       begin_backup_of{epoch_, {{index_, version_, progress(), memory_.snapshot()}, last_, recent_, norms_.own(), {}}});
}

void parameter_shard::on(const backup_ready& message) {
  if (has_backup_ && message.epoch == epoch_ && self_->current_sender() == keeper_)
    tell(self_, coordinator_, backup_begun{epoch_, index_, keeper_});
}

void parameter_shard::on(const update_received& message) {
  if (unconfirmed_ == 0 || message.epoch != epoch_ || self_->current_sender() != keeper_)
    return;
  if (--unconfirmed_ == 0)
    show_updates();
}

/// What waited for the backup need not wait any more.
void parameter_shard::show_updates() {
  if (context_->sync())
    announce_norm();
  else
    finish_update();
}

/// Goes on at once: it is the coordinator's to see to another.
void parameter_shard::part_from_keeper() {
  keeper_ = {};
  has_backup_ = false;
  if (std::exchange(unconfirmed_, 0) > 0)
    show_updates();
}

// -- readers ----------------------------------------------------------------------------

void parameter_shard::on(const query_lane& message) {
  queries_.push_back({caf::actor_cast<caf::actor>(self_->current_sender()), message});
  answer_queries();
}

void parameter_shard::on(const pull_parameters& message) {
  if (!ready_ || message.epoch != epoch_)
    return;
  pulls_.push_back({caf::actor_cast<caf::actor>(self_->current_sender()), message});
  answer_pulls();
}

void parameter_shard::report() {
  std::vector<numbers*> on_their_way{&last_.clipping, &last_.gradient_norm};
  for (auto& result : results_)
    on_their_way.push_back(&result.losses);
  memory_.settle(on_their_way);
  recent_.insert(recent_.end(), results_.begin(), results_.end());
  if (recent_.size() > 2 * results_kept)
    recent_.erase(recent_.begin(), recent_.end() - results_kept);
  shard_report message{epoch_, index_, version_, std::move(results_), steps_done(), {}, duplicates_dropped_,
                       stale_dropped_, last_, staleness_, held_ ? std::optional(held_->cut.step) : std::nullopt};
  results_.clear();
  for (const auto& lane : lanes_)
    message.applied.push_back(lane.applied);
  tell(self_, coordinator_, std::move(message));
}

/// Also while the norm of a step is under way: another shard may have lost what it needs for its part of it, and
/// gets that only from a lane that does the step again. But not of an update that the backup may not know of.
void parameter_shard::answer_queries() {
  if (!ready_ || (unconfirmed_ > 0 && !pending_))
    return;
  std::erase_if(queries_, [this](const auto& query) {
    if (query.asked.epoch > epoch_)
      return false;
    tell(self_, query.reader, lane_due{epoch_, query.asked.attempt, index_, lanes_[query.asked.lane].next_step,
                                       pending_.has_value()});
    return true;
  });
}

bool parameter_shard::may_read(const pull_parameters& asked) const {
  switch (context_->settings.consistency.mode) {
    case consistency_mode::sync:
      return version_ >= asked.step;
    case consistency_mode::bounded:
      return asked.step <= steps_done() + context_->settings.consistency.staleness;
    case consistency_mode::async:
      return true;
  }
  return false;
}

void parameter_shard::answer_pulls() {
  if (unconfirmed_ > 0 && !pending_)
    return;
  std::erase_if(pulls_, [this](const auto& pull) {
    const auto done = steps_done();
    if (pull.asked.exact ? done < pull.asked.step : !may_read(pull.asked))
      return false;
    // A replica that is behind its shards finds out here: no values of the step it asks for exist any more.
    if (done > pull.asked.step && (pull.asked.exact || context_->sync()))
      tell(self_, pull.reader, pull_too_late{epoch_, pull.asked.attempt, index_, pull.asked.step});
    else
      send_values(pull);
    return true;
  });
}

void parameter_shard::send_values(const waiting_pull& pull) {
  const auto values = memory_.values();
  if (!pull.asked.exact &&
      context_->settings.consistency.delay_compensation != consistency_settings::compensation_kind::none)
    lanes_[pull.asked.lane].read.assign(values.begin(), values.end());
  for (const auto& piece : context_->layout.pieces()) {
    if (piece.shard != index_)
      continue;
    const auto first = values.begin() + static_cast<std::ptrdiff_t>(piece.first - memory_.first());
    tell(self_, pull.reader,
         parameters{epoch_, pull.asked.attempt, index_, pull.asked.step, version_, piece.block, piece.first,
                    {first, first + static_cast<std::ptrdiff_t>(piece.last - piece.first)}});
  }
}

// -- its end ----------------------------------------------------------------------------------

void parameter_shard::before_end(const caf::error& reason) {
  if (held_ && context_->survivors && is(reason, errc::head_lost))
    context_->survivors->leave(index_, hold(held_->cut, held_snapshot()));
}

namespace {

struct parameter_shard_state {
  std::unique_ptr<parameter_shard> body;
  static inline const char* name = "parameter_shard";
};

parameter_shard_actor::behavior_type parameter_shard_behavior(
    parameter_shard_actor::stateful_pointer<parameter_shard_state> self, const job_context_ptr& context,
    std::uint32_t index, const caf::actor& coordinator) {
  keep_exceptions(self);
  auto& body = self->state.body;
  obey_chaos(self, [&body](const caf::error& reason) { body->before_end(reason); });
  body = std::make_unique<parameter_shard>(self, context, index, coordinator);
  return {
      [&body](const restore_shard& message) { body->on(message); },
      [&body](kept_part& message) { body->on(message); },
      [&body](kept_state& message) { body->on(message); },
      [&body](const take_snapshot& message) { body->on(message); },
      [&body](const meet_keeper& message) { body->on(message); },
      [&body](const backup_ready& message) { body->on(message); },
      [&body](const update_received& message) { body->on(message); },
      [&body](const query_lane& message) { body->on(message); },
      [&body](const pull_parameters& message) { body->on(message); },
      [&body](push_gradient& message) { body->on(message); },
      [&body](const complete_step& message) { body->on(message); },
      [&body](const norm_part& message) { body->on(message); },
      [&body](const norms_again& message) { body->on(message); },
      [&body](const meet_shard& message) { body->on(message); },
  };
}

}  // namespace

caf::actor spawn_parameter_shard(caf::actor_system& system, const job_context_ptr& context, std::uint32_t index,
                                 caf::actor coordinator) {
  return spawn_in_lane(system, context, index, parameter_shard_behavior, index, std::move(coordinator));
}

}  // namespace troupe
