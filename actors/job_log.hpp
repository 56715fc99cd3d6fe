#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "actors/chaos.hpp"
#include "actors/job_context.hpp"
#include "actors/parameter_shard.hpp"
#include "actors/step_pace.hpp"

namespace troupe {

/// What a job has to tell and what it counted: outlives the coordinator, so that a coordinator that is started anew
/// goes on counting. Used by one coordinator at a time, on its thread; read by others when the job has ended.
class job_log {
 public:
  job_log(const job_context& context, job_observer observer);

  // Both throw input_error where training has diverged and is to end then: a restart would meet the same.
  void step(const step_report& report);
  void evaluation(const evaluation_report& report);
  void cut(const cut_report& report);
  void event(const child_event& event);
  void warning(const std::string& message);
  /// All shards start from `step`; not a rollback the first time, nor where no step is lost by it.
  void restored(std::uint64_t step);
  /// One shard was, after a loss.
  void restored(const restore_report& report);
  bool begun() const noexcept { return begin_.has_value(); }
  /// A lane computed a step.
  void computed(std::uint32_t lane, std::uint64_t step, std::int64_t tokens);
  void killed() { ++summary_.killed; }
  /// A cut could not be written.
  void cut_failed(const std::string& message);
  void shard(const shard_report& report, std::uint64_t incarnation);
  void finished(std::string fingerprint, bool interrupted);

  /// Restarts after failures since the last step that was new.
  std::uint32_t fruitless_restarts() const noexcept { return fruitless_restarts_; }
  /// Of an actor of its own accord, or of a cut; none where nothing failed.
  const caf::error& last_failure() const noexcept { return last_failure_; }
  chaos_plan& chaos() noexcept { return chaos_; }
  const job_summary& summary() const noexcept { return summary_; }
  /// How long steps take of late; 0: none was done.
  double seconds_per_step() const noexcept { return pace_.seconds_per_step(); }
  /// Why the job ended before its time, and what to try; nothing where it did not diverge.
  const std::optional<std::string>& divergence() const noexcept { return divergence_; }

 private:
  void check(const std::optional<std::string>& divergence);

  /// Drops counted by the incarnation that reports now; earlier ones are in the summary.
  struct shard_tally {
    std::uint64_t incarnation = 0;
    std::uint64_t duplicates = 0;
    std::uint64_t stale = 0;
  };

  job_observer observer_;
  const job_settings settings_;
  job_summary summary_;
  chaos_plan chaos_;
  step_pace pace_;
  std::optional<std::chrono::steady_clock::time_point> begin_;
  std::vector<std::uint64_t> lane_next_;  // first step the lane has not computed yet
  std::vector<shard_tally> tallies_;
  std::uint64_t furthest_ = 0;  // step
  std::uint32_t fruitless_restarts_ = 0;
  caf::error last_failure_;
  bool warned_ = false;  // of divergence
  std::optional<std::string> divergence_;
};

}  // namespace troupe
