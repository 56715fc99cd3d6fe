#pragma once

/// What machines are told: the lines of metrics.jsonl and events.jsonl, which `--json` prints too. Every line is one
/// object whose "kind" says what it is. Seconds, bytes and ratios; null where a number is not finite.

#include <nlohmann/json.hpp>
#include <optional>

#include "actors/job.hpp"

namespace troupe {

/// The speed of the machine against that of the run.
struct throughput {
  double tokens_per_second = 0.0;
  double peak_ratio = 0.0;  ///< of the measured peak of the threads that compute; 0: unknown
  std::optional<double> joules_per_token{};  ///< where the device can tell
};

nlohmann::json to_json(const step_report& report, const throughput& speed);
nlohmann::json to_json(const evaluation_report& report);
nlohmann::json to_json(const cut_report& report);
/// A start, end or restart of an actor.
nlohmann::json to_json(const child_event& event);
nlohmann::json rollback_json(std::uint64_t step);
/// A shard went on from a cut after a loss.
nlohmann::json to_json(const restore_report& report);
/// A node came, went or was lost.
nlohmann::json to_json(const log_line& of_the_cluster);
nlohmann::json warning_json(const std::string& message);
/// The job ended with this error.
nlohmann::json failure_json(const std::string& message);
/// `best_loss`: the lowest of the steps' losses.
nlohmann::json to_json(const job_summary& summary, const throughput& speed, double best_loss);

/// Writes a line to stdout, at once. False, from the first failure on, where it could not be written.
bool tell_machine(const nlohmann::json& line);

/// Most memory that this process has held.
std::size_t peak_memory_bytes();

}  // namespace troupe
