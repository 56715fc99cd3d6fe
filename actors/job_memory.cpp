#include "actors/job_memory.hpp"

#include <algorithm>

#include "models/memory.hpp"
#include "models/planning_device.hpp"

namespace troupe {

namespace {

/// What an evaluation takes: forward passes that save nothing.
std::size_t plan_evaluation(const model& of, std::int64_t rows, std::int64_t context) {
  planning_device elsewhere, counted;
  const auto on = counted.make_stream({});
  pass p(of, *on);
  p.training = false;
  for (std::size_t i = 0; i < of.parameters().size(); ++i)
    p.parameters[i] = elsewhere.allocate(dtype::float32, of.parameters()[i].extents);
  const auto tokens = elsewhere.allocate(dtype::int32, {rows, context});
  p.begin({tokens, tokens}, {});
  for (std::size_t block = 0; block < of.block_count(); ++block)
    of.forward(block, p);
  return counted.memory().reserved_bytes;
}

}  // namespace

held_aside what_is_held(const job_settings& settings) {
  const auto within = [&](std::uint64_t every) { return every > 0 && every < settings.training.steps; };
  const auto cuts_every = settings.checkpoint.every, evaluations_every = settings.evaluation.every;
  held_aside held;
  held.of_cuts = within(cuts_every);
  held.of_evaluations = settings.evaluation.batches > 0 && within(evaluations_every) &&
                        !(held.of_cuts && evaluations_every % cuts_every == 0);
  return held;
}

job_memory predict_memory(const model& of, const job_settings& settings, std::int64_t context) {
  const auto& training = settings.training;
  const std::size_t lanes = training.lanes;
  const auto rows = training.batch / (std::int64_t{training.lanes} * training.accumulation);
  const auto rule = make_optimizer(settings.optimizer);
  const auto one = estimate_memory(of, *rule, rows, context, parse_recompute(of, training.recompute));

  job_memory result;
  result.parameters_bytes = one.parameters_bytes;
  result.optimizer_bytes = one.optimizer_bytes;
  result.gradients_bytes = lanes * one.gradients_bytes;
  result.activations_bytes = lanes * one.activations_bytes;

  const auto& evaluation = settings.evaluation;
  if (evaluation.batches > 0)
    result.evaluation_bytes = plan_evaluation(of, evaluation.batch > 0 ? evaluation.batch : training.batch, context);
  const auto held = what_is_held(settings);
  if (held.of_cuts)
    result.copies_bytes += one.parameters_bytes + one.optimizer_bytes;
  if (held.of_evaluations)
    result.copies_bytes += one.parameters_bytes;
  if (settings.consistency.mode != consistency_mode::sync)  // each lane may read a version of its own
    result.copies_bytes += lanes * one.parameters_bytes;
  return result;
}

}  // namespace troupe
