#include "actors/coordinator_watch.hpp"

#include <fmt/format.h>

#include "actors/coordinator.hpp"

namespace troupe {

coordinator_watch::coordinator_watch(std::chrono::milliseconds stall_after, std::shared_ptr<job_status> status,
                                     std::function<void(const log_line&)> tell)
    : stall_after_(stall_after), status_(std::move(status)), tell_(std::move(tell)) {}

void coordinator_watch::look(caf::scoped_actor& self, const directory_actor& names) {
  const auto now = clock::now();
  if (now - looked_ < look_every)
    return;
  looked_ = now;
  if (lives_->exchange(false)) {
    heard_ = now;
    if (std::exchange(told_, false))
      say(false);
    // Where there is none it is about to be started, by a supervisor that is another actor.
    if (!tell_by_name(self, names, "coordinator", show_life{lives_}))
      *lives_ = true;
    return;
  }
  const std::chrono::duration<double> silent = now - heard_;
  if (silent > told_after && !std::exchange(told_, true))
    say(true);
  if (stall_after_.count() > 0 && silent > stall_after_ + grace)
    throw job_failed(fmt::format("the coordinator is stuck in a handler: nothing was heard from it for {:.0f} s; nodes keep "
                                 "what they hold: resume",
                                 silent.count()));
}

void coordinator_watch::say(bool stuck) {
  status_->note_stuck("coordinator", stuck);
  if (tell_)
    tell_({.event = stuck ? "stuck" : "recovered",
           .message = stuck ? fmt::format("the coordinator has not come out of a handler for {} s", told_after.count())
                            : "the coordinator is back",
           .level = stuck ? log_level::warn : log_level::info,
           .actor = "coordinator"});
}

}  // namespace troupe
