#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "actors/job.hpp"
#include "actors/parameter_shard.hpp"

namespace troupe {

/// What the shards of a job have applied, as they report it, and the losses of steps that not all have applied yet. Of
/// one epoch; owned by the coordinator.
class step_ledger {
 public:
  explicit step_ledger(std::uint32_t shards) : reports_(shards) {}

  /// All shards go on from `step`; none has reported yet.
  void restart(std::uint64_t step);
  /// This shard goes on from somewhere, and will report.
  void forget(std::uint32_t shard) { reports_[shard].reset(); }
  void note(const shard_report& report);

  bool reported_all() const;
  /// By the slowest lane on the shard that is furthest behind. REQUIRES: reported_all().
  std::uint64_t steps_done() const;
  /// The next step that all shards have applied and nobody was told of, in order; nothing where there is none.
  std::optional<step_report> next();
  /// "shards at step 4 4 (none)".
  std::string describe() const;

 private:
  using clock = std::chrono::steady_clock;

  std::vector<std::optional<shard_report>> reports_;  // by shard: the latest
  std::map<std::uint64_t, std::map<std::uint32_t, lane_result>> results_;  // by step, lane: applied, not yet told
  std::uint64_t next_ = 0;
  clock::time_point begin_ = clock::now();  // of the step to be told next
};

}  // namespace troupe
