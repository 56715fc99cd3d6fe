#include "actors/job_memory.hpp"

#include <algorithm>

#include "models/memory.hpp"
#include "runtime/tensor/device_module.hpp"

namespace troupe {

held_aside what_is_held(const job_settings& settings) {
  const auto within = [&](std::uint64_t every) { return every > 0 && every < settings.training.steps; };
  const auto cuts_every = settings.checkpoint.every, evaluations_every = settings.evaluation.every;
  held_aside held;
  held.of_cuts = within(cuts_every);
  held.of_any_evaluations = settings.evaluation.batches > 0 && within(evaluations_every);
  held.of_evaluations = held.of_any_evaluations && !(held.of_cuts && evaluations_every % cuts_every == 0);
  return held;
}

planned_hardware hardware_of(const job_settings& settings) {
  planned_hardware on;
  on.precision = settings.training.precision;
  if (is_cuda(settings.runtime.device)) {
    on.is_host = false;
    if (on.precision == precision_kind::automatic)
      on.precision = precision_kind::bfloat16;
  }
  return on;
}

job_memory predict_memory(const model& of, const job_settings& settings, std::int64_t context,
                          const planned_hardware& on) {
  const auto& training = settings.training;
  const std::size_t lanes = training.lanes;
  const auto rows = training.batch / (std::int64_t{training.lanes} * training.accumulation);
  const auto rule = make_optimizer(settings.optimizer);
  const auto one = estimate_memory(of, *rule, rows, context, parse_recompute(of, training.recompute), on);

  job_memory result;
  result.parameters_bytes = one.parameters_bytes;
  result.optimizer_bytes = one.optimizer_bytes;
  result.updates_bytes = one.updates_bytes;
  result.working_bytes = lanes * one.working_bytes;
  result.gradients_bytes = lanes * one.gradients_bytes;
  result.activations_bytes = lanes * one.activations_bytes;
  result.workspace_bytes = lanes * on.stream_bytes;
  if (settings.optimizer.algorithm == optimizer_settings::kind::muon)
    result.workspace_bytes += settings.runtime.shards * on.stream_bytes;

  const auto& evaluation = settings.evaluation;
  if (evaluation.batches > 0) {
    const auto sequences = evaluation.batch > 0 ? evaluation.batch : training.batch;
    result.evaluation_bytes = estimate_evaluation(of, sequences, context, on);
    result.working_bytes += one.working_bytes;
    result.workspace_bytes += on.stream_bytes;
  }
  const auto held = what_is_held(settings);
  if (held.of_cuts && on.is_host)  // elsewhere a cut is a copy in the host's memory
    result.copies_bytes += one.parameters_bytes + one.optimizer_bytes;
  // Who computes with copies of another type lets go of parameters at once.
  if ((on.is_host ? held.of_evaluations : held.of_any_evaluations) && one.working_bytes == 0)
    result.copies_bytes += one.parameters_bytes;
  if (settings.consistency.mode != consistency_mode::sync)  // each lane may read a version of its own
    result.copies_bytes += lanes * one.parameters_bytes;
  return result;
}

}  // namespace troupe
