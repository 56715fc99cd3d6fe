#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>

#include "actors/job.hpp"
#include "actors/step_pace.hpp"
#include "runtime/supervision/supervisor.hpp"

namespace troupe {

/// How a job is doing, for whoever asks while it runs. Kept by what the job tells; an answer waits for no actor, so that
/// it comes also while one is wedged. Thread safe. The schema of its JSON: cli/README.md.
class job_status {
 public:
  /// Failures kept.
  static constexpr std::size_t failures_max = 20;

  /// Listens in: the result tells this object, then `observer`, which it outlives.
  job_observer listen(job_observer observer);

  /// Whether an actor that runs does not come out of a handler.
  void note_stuck(const std::string& actor, bool stuck);

  std::string to_json() const;

 private:
  struct actor_state {
    std::string state;
    std::string where;
    std::uint64_t incarnation = 0;
  };
  struct failure {
    std::chrono::system_clock::time_point at;
    std::string actor;
    std::string reason;
  };

  void note(const step_report& report);
  void note(const child_event& event);

  mutable std::mutex mutex_;
  std::uint64_t step_ = 0;
  double loss_ = 0.0;
  step_pace pace_;
  std::chrono::steady_clock::time_point last_step_at_ = std::chrono::steady_clock::now();
  std::uint64_t rollbacks_ = 0;
  restore_counts restored_;
  std::uint64_t last_cut_step_ = 0;
  std::map<std::string, actor_state> actors_;
  std::deque<failure> failures_;
};

}  // namespace troupe
