#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>

#include <caf/all.hpp>

#include "actors/job_status.hpp"
#include "runtime/log_line.hpp"
#include "runtime/supervision/directory.hpp"

namespace troupe {

/// Notices that the coordinator of a job does not come out of a handler: nobody supervises it from outside its process,
/// and what is stuck can neither be ended nor done without. That is said after `told_after`, and ends the job `grace`
/// after the time at which the coordinator, were it well, had noticed by itself that nothing is done: nodes keep what
/// they hold, and whoever resumes the job goes on from that. Used by one thread, which blocks for a moment.
class coordinator_watch {
 public:
  static constexpr std::chrono::seconds told_after{10};
  static constexpr std::chrono::seconds grace{10};

  /// `stall_after`: supervision.stall_after. `tell` may be empty.
  coordinator_watch(std::chrono::milliseconds stall_after, std::shared_ptr<job_status> status,
                    std::function<void(const log_line&)> tell);

  /// Call it every now and then. Throws job_failed.
  void look(caf::scoped_actor& self, const directory_actor& names);

 private:
  using clock = std::chrono::steady_clock;

  static constexpr std::chrono::milliseconds look_every{500};

  void say(bool stuck);

  std::chrono::milliseconds stall_after_;
  std::shared_ptr<job_status> status_;
  std::function<void(const log_line&)> tell_;
  std::shared_ptr<std::atomic<bool>> lives_ = std::make_shared<std::atomic<bool>>(true);
  clock::time_point looked_;
  clock::time_point heard_ = clock::now();
  bool told_ = false;
};

}  // namespace troupe
