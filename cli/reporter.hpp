#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>

#include "actors/job.hpp"
#include "actors/step_pace.hpp"
#include "cli/progress.hpp"
#include "cli/run_directory.hpp"
#include "cli/run_history.hpp"

namespace troupe {

/// Passes on what a job tells: to people, to the run directory, and with --json to stdout.
class reporter {
 public:
  struct options {
    std::uint64_t steps = 0;
    double flops_per_token = 0.0;
    double peak_flops = 0.0;  ///< a second, of all threads that compute; 0: unknown
    bool json = false;
    run_history before;  ///< of a run that is resumed
    std::function<std::optional<double>()> energy_joules;  ///< that the device has used so far; empty: nobody can tell
  };

  reporter(console& people, run_directory& run, const options& chosen);

  /// Refers to this reporter.
  job_observer observer();

  /// Nodes that come and go. Thread safe.
  void on_cluster(const log_line& line);

  // -- after the job's end --------------------------------------------------------

  /// Whether it did a step.
  bool has_steps() const noexcept { return steps_here_ > 0; }
  void finish(job_summary summary);
  /// The job ended with an exception, which the caller passes on, and tells of on stdout.
  void fail(const nlohmann::json& failure);

 private:
  using clock = std::chrono::steady_clock;

  throughput speed(double tokens, double seconds) const;
  void on_step(const step_report& report);
  void on_evaluation(const evaluation_report& report);
  void on_cut(const cut_report& report);
  void on_event(const child_event& event);
  void on_warning(const std::string& message);
  void on_rollback(std::uint64_t step);
  void on_restore(const restore_report& report);
  double seconds_left(std::uint64_t step);
  void add_metric(const nlohmann::json& line);
  void add_event(const nlohmann::json& line);
  void tell(const nlohmann::json& line);
  void check_written(bool written);

  console& people_;
  run_directory& run_;
  options options_;
  std::mutex mutex_;  ///< guards what is written for machines: the job and its cluster tell from different threads
  step_pace pace_;
  double best_loss_;
  std::optional<evaluation_report> best_evaluation_;
  clock::time_point started_{};
  std::uint64_t steps_here_ = 0;  ///< reported since then
  bool write_failed_ = false;
  bool output_failed_ = false;
  std::optional<double> joules_before_;
};

}  // namespace troupe
