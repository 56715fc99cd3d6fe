#pragma once

#include <memory>
#include <vector>

#include "actors/computing_devices.hpp"
#include "actors/job.hpp"
#include "actors/job_settings.hpp"
#include "actors/shard_layout.hpp"
#include "runtime/checkpoint/store.hpp"

namespace troupe {

class job_journal;
class surviving_cuts;

/// What every actor of a job knows from the start. Immutable and shared; what the mathematics depends on follows from
/// the run file, so that another process can build the same.
struct job_context {
  job_inputs inputs;
  job_settings settings;
  shard_layout layout;
  std::vector<bool> recompute;              ///< by block
  std::shared_ptr<checkpoint_store> store;  ///< null: no cuts
  std::shared_ptr<computing_devices> on;
  std::shared_ptr<job_journal> journal{};       ///< of a head; null: nobody is to take the job over
  std::string arithmetic{};                     ///< of who computes here, or on the first node; empty: not known yet
  std::shared_ptr<surviving_cuts> survivors{};  ///< of a node; null: nothing is to outlive the head

  const troupe::model& model() const noexcept { return *inputs.model; }
  std::uint32_t lanes() const noexcept { return settings.training.lanes; }
  /// Sequences of one micro-batch of one lane.
  std::int64_t rows() const noexcept {
    return settings.training.batch / (settings.training.lanes * settings.training.accumulation);
  }
  bool sync() const noexcept { return settings.consistency.mode == consistency_mode::sync; }
  bool replicated() const noexcept { return settings.runtime.replication > 1; }
  /// For passes of a lane, and of the evaluator.
  std::unique_ptr<stream> make_stream(std::uint32_t lane) const { return make_stream(on->of_lane(lane)); }
  std::unique_ptr<stream> make_evaluator_stream() const { return make_stream(on->of_evaluator()); }
  /// For parameters and optimizer steps, which are never of less than float32.
  std::unique_ptr<stream> make_exact_stream(std::uint32_t shard) const {
    const bool tf32 = settings.training.precision == precision_kind::tf32;
    return on->of_shard(shard).make_stream({settings.runtime.threads,
                                            tf32 ? precision_kind::tf32 : precision_kind::float32,
                                            settings.runtime.cuda_graphs});
  }

 private:
  std::unique_ptr<stream> make_stream(device& where) const {
    return where.make_stream({settings.runtime.threads, settings.training.precision, settings.runtime.cuda_graphs});
  }
};

using job_context_ptr = std::shared_ptr<const job_context>;

}  // namespace troupe
