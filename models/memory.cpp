#include "models/memory.hpp"

namespace troupe {

namespace {

/// A pass of a batch whose parameters take no memory of the device it is counted on.
class planned_pass {
 public:
  planned_pass(const model& of, const planned_hardware& as, std::int64_t rows, std::int64_t time)
      : counted_(as),
        stream_(counted_.make_stream({.precision = as.precision})),
        of_(of),
        tokens_(elsewhere_.allocate(dtype::int32, {rows, time})),
        p(of, *stream_) {
    for (std::size_t i = 0; i < of.parameters().size(); ++i)
      p.parameters[i] = elsewhere_.allocate(dtype::float32, of.parameters()[i].extents);
    p.gradients = p.parameters;
  }
  void forward() {
    p.begin({tokens_, tokens_}, {});
    for (std::size_t block = 0; block < of_.block_count(); ++block)
      of_.forward(block, p);
  }
  void backward() {
    for (std::size_t block = of_.block_count(); block-- > 0;)
      of_.backward(block, p);
  }
  std::size_t bytes() const { return counted_.memory().reserved_bytes; }

 private:
  planning_device elsewhere_, counted_;
  std::unique_ptr<stream> stream_;
  const model& of_;
  tensor tokens_;

 public:
  pass p;
};

}  // namespace

/// What updates take beside the rest, a pool keeps for the next ones.
owner_estimate estimate_owner(const model& of, const optimizer& rule, std::size_t first, std::size_t last,
                              const planned_hardware& on) {
  owner_estimate estimate;
  planning_device held, counted(on);
  const auto stream = counted.make_stream({});
  for (auto i = first; i < last; ++i) {
    const parameter& which = of.parameters()[i];
    estimate.parameters_bytes += on.bytes_of(dtype::float32, which.extents);
    estimate.optimizer_bytes += on.bytes_of(rule.state_type(*stream), which.extents) * rule.state_names(which).size();
    const tensor gradient = held.allocate(dtype::float32, which.extents);
    tensor value = held.allocate(dtype::float32, which.extents);
    std::vector<tensor> state;
    for ([[maybe_unused]] const auto& name : rule.state_names(which))
      state.push_back(held.allocate(rule.state_type(*stream), which.extents));
    rule.update(*stream, which, {}, gradient, value, state);
  }
  estimate.updates_bytes = counted.memory().reserved_bytes;
  return estimate;
}

memory_estimate estimate_memory(const model& of, const optimizer& rule, std::int64_t rows, std::int64_t time,
                                const std::vector<bool>& recompute, const planned_hardware& on) {
  memory_estimate estimate;
  const auto owner = estimate_owner(of, rule, 0, of.parameters().size(), on);
  estimate.parameters_bytes = estimate.gradients_bytes = owner.parameters_bytes;
  estimate.optimizer_bytes = owner.optimizer_bytes;
  estimate.updates_bytes = owner.updates_bytes;
  if (on.precision == precision_kind::bfloat16)
    for (const parameter& which : of.parameters())
      estimate.working_bytes += on.bytes_of(dtype::bfloat16, which.extents);
  planned_pass trip(of, on, rows, time);
  if (!recompute.empty())
    trip.p.recompute = recompute;
  trip.forward();
  trip.backward();
  estimate.activations_bytes = trip.bytes();
  return estimate;
}

std::size_t estimate_evaluation(const model& of, std::int64_t rows, std::int64_t time, const planned_hardware& on) {
  planned_pass trip(of, on, rows, time);
  trip.p.training = false;
  trip.forward();
  return trip.bytes();
}

}  // namespace troupe
