#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "actors/job_settings.hpp"
#include "models/model.hpp"
#include "models/planning_device.hpp"

namespace troupe {

/// Memory that a job's actors take in one process, on the device that computes; the host's own device counts beyond what
/// the process holds before it starts.
struct job_memory {
  std::size_t parameters_bytes = 0;   ///< in the shards
  std::size_t optimizer_bytes = 0;    ///< in the shards
  std::size_t updates_bytes = 0;      ///< in the shards, while they apply one
  std::size_t working_bytes = 0;      ///< parameters as lanes and evaluator compute with them, where not in float32
  std::size_t gradients_bytes = 0;    ///< of all lanes
  std::size_t activations_bytes = 0;  ///< of all lanes
  std::size_t evaluation_bytes = 0;   ///< the evaluator's activations
  std::size_t workspace_bytes = 0;    ///< of streams
  /// Copies in float32 of what is on another device: parameters for lanes and evaluator, gradients for shards.
  std::size_t arrivals_bytes = 0;
  /// Of parameters and optimizer state: the last cut, which shards hold so that they can return to it, and what the
  /// evaluator or a slower lane still reads.
  std::size_t copies_bytes = 0;

  std::size_t total_bytes() const noexcept {
    return parameters_bytes + optimizer_bytes + updates_bytes + working_bytes + gradients_bytes + activations_bytes +
           evaluation_bytes + workspace_bytes + arrivals_bytes + copies_bytes;
  }
};

/// Who holds old values while updates go on, which then write aside.
struct held_aside {
  bool of_cuts = false;         ///< shards hold the last cut: parameters and optimizer state
  bool of_evaluations = false;  ///< the evaluator holds parameters, at times, that are of no cut
  bool of_any_evaluations = false;  ///< or also of one
};
held_aside what_is_held(const job_settings& settings);

/// What a job's tensors are taken from, but for what streams take for themselves.
planned_hardware hardware_of(const job_settings& settings);

/// For a language model; found by a dry run of its passes. REQUIRES: settings that run_job accepts.
job_memory predict_memory(const model& of, const job_settings& settings, std::int64_t context,
                          const planned_hardware& on = {});
/// The same of each device of a process that has several, in their order.
std::vector<job_memory> predict_memory_of_each(const model& of, const job_settings& settings, std::int64_t context,
                                               const planned_hardware& on, std::size_t devices);

}  // namespace troupe
