#include <algorithm>
#include <utility>

#include "actors/parameter_shard_body.hpp"
#include "runtime/probe.hpp"
#include "runtime/system.hpp"

namespace troupe {

namespace {

/// Turns a gradient summed over targets into their mean.
double mean_over(std::int64_t targets) { return 1.0 / static_cast<double>(std::max<std::int64_t>(targets, 1)); }

}  // namespace

void parameter_shard::on(push_gradient& message) {
  if (!ready_ || message.epoch != epoch_ || pending_)
    return;
  auto& lane = lanes_[message.lane];
  if (message.step != lane.next_step || !lane.admits(message.attempt))
    return;
  const auto offset = message.first - memory_.first();
  for (std::size_t i = 0; i < message.gradients.size(); ++i)
    lane.gradients[offset + i] = memory_.here(message.gradients[i]);
}

void parameter_shard::on(const complete_step& message) {
  if (message.epoch != epoch_ || !ready_) {
    probe("shard: a step of an older epoch was dropped");
    ++stale_dropped_;
    return;
  }
  auto& lane = lanes_[message.lane];
  if (message.step < lane.next_step || pending_) {
    probe("shard: a step that had effect before was dropped");
    ++duplicates_dropped_;
    return;
  }
  if (message.step > lane.next_step || message.attempt != lane.attempt || !lane.is_whole())
    return;  // of an attempt that was given up
  lane.completed = message;
  if (!context_->sync())
    apply(lane);
  else if (std::all_of(lanes_.begin(), lanes_.end(), [](const auto& each) { return each.completed.has_value(); }))
    close_step();
}

// -- sync: one update for all lanes ---------------------------------------------

void parameter_shard::close_step() {
  std::vector<std::vector<tensor>> gradients;
  shard_update sum;
  sum.version = version_;
  for (auto& lane : lanes_) {
    const auto& step = *lane.completed;
    sum.results.push_back({step.lane, step.step, step.targets, step.losses, step.samples});
    gradients.push_back(std::move(lane.gradients));
    lane.gradients.assign(memory_.size(), {});
  }
  auto squares = memory_.sum_lanes(gradients);
  sum.gradients = std::move(gradients.front());
  gradients.clear();
  sum.norm = norm_part{epoch_, version_, index_, std::move(squares)};
  pending_ = std::move(sum);
  if (!has_backup_)
    return announce_norm();
  ++unconfirmed_;
  tell(self_, keeper_, backup_update{epoch_, *pending_, {}});
}

/// The backup, where there is one, has the gradient: whoever updates on the strength of this part can rely on it.
void parameter_shard::announce_norm() {
  norms_.add_own(*pending_->norm);
  for (std::uint32_t other = 0; other < shards_.size(); ++other)
    if (other != index_)
      tell(self_, shards_[other], *pending_->norm);
  finish_step();
}

void parameter_shard::on(const norm_part& message) {
  if (message.epoch != epoch_)
    return;
  norms_.add(message);
  finish_step();
}

/// Another shard was taken over for: what was sent to its predecessor may be lost.
void parameter_shard::on(const meet_shard& message) {
  if (message.epoch != epoch_)
    return;
  shards_[message.shard] = message.who;
  tell(self_, message.who, norms_again{epoch_, norms_.own(), true});
}

void parameter_shard::on(const norms_again& message) {
  if (message.epoch != epoch_)
    return;
  for (const auto& part : message.parts)
    if (part.step >= version_ || !ready_)
      norms_.add(part);
  if (message.answer)
    tell(self_, caf::actor_cast<caf::actor>(self_->current_sender()), norms_again{epoch_, norms_.own(), false});
  finish_step();
}

/// Updates once the parts of the norm are there.
void parameter_shard::finish_step() {
  if (!pending_ || unconfirmed_ > 0)
    return;
  std::int64_t targets = 0;
  for (const auto& result : pending_->results)
    targets += result.targets;
  const auto squares = norms_.squares(version_);
  if (!squares)
    return;
  const auto factors = memory_.clip(*squares, mean_over(targets), learning_rate_at_step(version_));
  const auto before = version_;
  update(*std::exchange(pending_, {}), factors);
  answer_pulls();  // before what waits for the device: it brings the factors to the host
  if (has_backup_)
    tell(self_, keeper_, backup_factors{epoch_, before, factors});
  norms_.forget_before(version_);
  finish_update();
}

// -- bounded, async: one update for each lane -----------------------------------

void parameter_shard::apply(lane_gradients& lane) {
  const auto& step = *lane.completed;
  const auto& how = context_->settings.consistency;
  staleness_ = version_ - std::min(version_, step.version_read);
  const auto rate_factor =
      how.staleness_scaled_rate ? 1.0 / static_cast<double>(std::max<std::uint64_t>(staleness_, 1)) : 1.0;
  auto factors = memory_.clip({&step.squares, 1}, mean_over(step.targets),
                              rate_factor * learning_rate_at_step(version_ / lanes_.size()));
  shard_update one;
  one.version = version_;
  one.gradients = std::move(lane.gradients);
  one.results.push_back({step.lane, step.step, step.targets, step.losses, step.samples});
  lane.gradients.assign(memory_.size(), {});
  if (how.delay_compensation != consistency_settings::compensation_kind::none && !lane.read.empty()) {
    memory_.compensate_delay(one.gradients, lane.read, factors);
    factors.gradient_scale = 1.0;
    factors.clipping = {};
    one.mean_squares.assign(memory_.mean_squares().begin(), memory_.mean_squares().end());
  }
  lane.read.clear();
  if (has_backup_) {
    ++unconfirmed_;
    tell(self_, keeper_, backup_update{epoch_, one, factors});
  }
  update(std::move(one), factors);
  if (unconfirmed_ == 0)
    finish_update();
}

// -- both -------------------------------------------------------------------------

double parameter_shard::learning_rate_at_step(std::uint64_t step) const {
  const auto& settings = context_->settings;
  return learning_rate_at(settings.schedule, settings.optimizer.learning_rate, static_cast<std::int64_t>(step),
                          static_cast<std::int64_t>(settings.training.steps));
}

/// Gives up the gradients before lanes go on, which take memory for their next.
void parameter_shard::update(shard_update what, const update_factors& factors) {
  ++version_;
  memory_.update(what.gradients, factors, version_);
  last_ = factors;
  for (const auto& result : what.results) {
    lanes_[result.lane].count_applied();
    results_.push_back(result);
  }
}

/// Lanes first: a device that computes the update has then been given what comes after it, when its report waits for it.
void parameter_shard::finish_update() {
  answer_pulls();
  answer_queries();
  report();
  begin_backup();
}

}  // namespace troupe
