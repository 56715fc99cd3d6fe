#include <algorithm>

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
    last_step_ = level;
  else
    early_cut_at_ = level;
  move_barrier(level);
  work_at_barrier();
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
