#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "actors/coordinator_body.hpp"
#include "runtime/probe.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

void coordinator::on(const stop_job&) {
  if (stopping_ || ended_)
    return;
  stopping_ = true;
  if (epoch_ > 0)
    pause_lanes();
  bound_stop();
}

void coordinator::bound_stop() {
  const auto within = context_->settings.supervision.stop_within;
  if (within.count() == 0)
    return;
  const auto& far = log_->summary();
  const auto steps = std::max<std::uint64_t>(1, far.steps - std::min(far.steps, far.first_step));
  const auto two_steps = std::chrono::duration<double>(2.0 * far.seconds / static_cast<double>(steps));
  const auto patience = within + std::chrono::duration_cast<std::chrono::milliseconds>(two_steps);
  run_later(self_, patience, [this, patience, before = heard_] {
    if (ended_)
      return;
    if (heard_ != before || (paused_.empty() && at_barrier()))  // what remains then is a cut to be written
      return bound_stop();
    give_up(fmt::format("told to stop, and nothing was done for {:.0f} s: {}; going on is possible from {}",
                        std::chrono::duration<double>(patience).count(), waiting_for(),
                        saved_ ? fmt::format("the cut at step {}", *saved_) : "the beginning"));
  });
}

void coordinator::on(const lane_paused& message) {
  if (message.epoch != epoch_ || paused_.empty())
    return;
  paused_[message.lane] = message.next_step;
  if (std::any_of(paused_.begin(), paused_.end(), [](const auto& step) { return !step; }))
    return;
  const auto level = **std::max_element(paused_.begin(), paused_.end());
  paused_.clear();
  if (stopping_)
    stop_at(level);
  else
    early_cut_at_ = level;
  move_barrier(level);
  work_at_barrier();
}

/// Nobody who wants to leave waits for an evaluation. One of this very step is made when the run goes on from here,
/// unless it was only due because the run was to end here.
void coordinator::stop_at(std::uint64_t step) {
  last_step_ = step;
  if (evaluation_.step && *evaluation_.step != step)
    log_->warning(fmt::format("the evaluation at step {} was given up, since the run is to stop", *evaluation_.step));
  evaluation_ = {};
}

void coordinator::on(const node_ready&) {
  rebalance_ = true;
  if (epoch_ > 0 && context_->settings.checkpoint.every == 0)
    want_cut();  // no other is coming at which the node could get to work
}

void coordinator::on(const node_leaving& message) {
  leaving_.insert(message.node);
  want_cut();
}

void coordinator::on(const cut_wanted&) { want_cut(); }

void coordinator::pause_lanes() {
  paused_.assign(context_->lanes(), {});
  for (const auto& replica : alive_.replicas)
    if (replica)
      tell(self_, replica, pause_lane{epoch_});
}

void coordinator::want_cut() {
  if (!context_->store)
    log_->warning("a cut was asked for, but this job keeps no checkpoints");
  early_cut_ = true;
  if (epoch_ > 0 && !stopping_ && !ended_ && paused_.empty())
    pause_lanes();
}

void coordinator::watch_for_cuts() {
  const auto interval = context_->settings.checkpoint.interval;
  if (!context_->store || interval.count() == 0)
    return;
  run_later(self_, interval, [this, before = saved_] {
    if (ended_)
      return;
    if (saved_ == before && !cut_ && ledger_.reported_all() && ledger_.steps_done() > saved_.value_or(0))
      want_cut();
    watch_for_cuts();
  });
}

void coordinator::watch_speeds() {
  constexpr int looks = 3;            // that must agree: a pause of somebody's is not slowness
  constexpr double worthwhile = 1.2;  // less may be noise, and would come and go
  const auto after = context_->settings.runtime.rebalance_after;
  if (!context_->store || !places_.look_at_speeds || after.count() == 0)
    return;
  run_later(self_, after / looks, [this] {
    if (ended_)
      return;
    const auto factor = places_.look_at_speeds(self_->clock().now());
    slow_looks_ = factor > worthwhile ? slow_looks_ + 1 : 0;
    if (slow_looks_ >= looks && epoch_ > 0 && !stopping_ && leaving_.empty() && moving_.empty()) {
      probe("coordinator: lanes moved for speed");
      log_->warning(fmt::format("nodes are no longer as fast as lanes are spread: some move, which makes a step {:.0f} % "
                                "shorter",
                                100.0 * (1.0 - 1.0 / factor)));
      slow_looks_ = 0;
      rebalance_ = true;
      want_cut();
    }
    watch_speeds();
  });
}

bool coordinator::served_moves() {
  if ((!rebalance_ && leaving_.empty()) || barrier_ == last_step_)
    return true;
  if (!context_->store) {  // to move a shard would be to start all over
    finish_moves();
    return true;
  }
  if (saved_ != barrier_) {
    const bool being_written = cut_ && cut_->step == barrier_;
    return !being_written;  // where no cut is due nobody moves
  }
  if (evaluation_.step)
    return false;  // it would be lost
  if (!moved_) {
    moved_ = true;
    for (const auto& name : places_.rebalance()) {
      const auto who = alive_.handle(name);
      if (!who)
        continue;  // it is about to be started, and will be at its new home
      probe("coordinator: an actor moved to another node");
      moving_.insert(name);
      send_exit(who, make_error(errc::moved, name + ": moves to another node"));
    }
    if (!moving_.empty())
      return false;
  }
  finish_moves();
  return true;
}

void coordinator::finish_moves() {
  moved_ = rebalance_ = false;
  for (const auto node : leaving_)
    tell(self_, places_.membership, node_vacated{node});
  leaving_.clear();
  settle_keepers();
}

}  // namespace troupe
