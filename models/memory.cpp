#include "models/memory.hpp"

#include "models/planning_device.hpp"

namespace troupe {

namespace {

std::size_t plan_activations(const model& of, std::int64_t rows, std::int64_t time,
                             const std::vector<bool>& recompute) {
  planning_device parameters_on, activations_on;
  const auto stream = activations_on.make_stream({});
  pass p(of, *stream);
  for (std::size_t i = 0; i < of.parameters().size(); ++i) {
    p.parameters[i] = parameters_on.allocate(dtype::float32, of.parameters()[i].extents);
    p.gradients[i] = p.parameters[i];
  }
  if (!recompute.empty())
    p.recompute = recompute;
  const tensor tokens = parameters_on.allocate(dtype::int32, {rows, time});
  p.begin({tokens, tokens}, {});
  for (std::size_t block = 0; block < of.block_count(); ++block)
    of.forward(block, p);
  for (std::size_t block = of.block_count(); block-- > 0;)
    of.backward(block, p);
  return activations_on.memory().reserved_bytes;
}

}  // namespace

memory_estimate estimate_memory(const model& of, const optimizer& rule, std::int64_t rows, std::int64_t time,
                                const std::vector<bool>& recompute) {
  memory_estimate estimate;
  for (const parameter& which : of.parameters()) {
    const std::size_t bytes = static_cast<std::size_t>(which.count()) * size_bytes(dtype::float32);
    estimate.parameters_bytes += bytes;
    estimate.gradients_bytes += bytes;
    estimate.optimizer_bytes += bytes * rule.state_names(which).size();
  }
  estimate.activations_bytes = plan_activations(of, rows, time, recompute);
  return estimate;
}

}  // namespace troupe
