#pragma once

#include <filesystem>
#include <limits>
#include <optional>

#include "actors/job.hpp"

namespace troupe {

/// What a run did before it was resumed: a job tells only of its own part.
struct run_history {
  std::optional<double> last_loss;
  double best_loss = std::numeric_limits<double>::quiet_NaN();
  std::optional<evaluation_report> last_evaluation;
  std::optional<evaluation_report> best_evaluation;
  std::filesystem::path last_cut;

  /// Puts what went before around what `summary` tells of the rest.
  void complete(job_summary& summary) const;
};

/// Of the lines of metrics.jsonl, up to `step`; steps that came again count as they were last. What is not a line as
/// reporters write it, such as one that a crash cut off, is passed over; without the file all is empty.
run_history read_history(const std::filesystem::path& metrics, std::uint64_t step);

}  // namespace troupe
