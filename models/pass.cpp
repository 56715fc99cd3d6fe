#include "models/pass.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

#include "models/model.hpp"

namespace troupe {

pass::pass(const model& of, stream& on)
    : on(on),
      parameters(of.parameters().size()),
      gradients(of.parameters().size()),
      recompute(of.block_count(), false) {
  // nop
}

namespace {

/// On the stream's device; features (not token ids) in its compute type.
tensor as_input(stream& on, const tensor& host) {
  const tensor moved = on.to_device(host);
  if (moved.type() == dtype::int32 || moved.type() == on.compute_type())
    return moved;
  const tensor features = on.allocate(moved.shape());
  on.cast(moved, features);
  return features;
}

}  // namespace

void pass::begin(batch next, random_key key) {
  input_.tokens = as_input(on, next.tokens);
  input_.targets = next.targets ? on.to_device(next.targets) : tensor{};
  host_targets_ = std::move(next.targets);
  key_ = key;
  carry_ = {};
  saved_.clear();
  logits = {};
  losses = {};
}

std::vector<tensor> as_computed_with(stream& on, std::span<const tensor> values) {
  std::vector<tensor> here, copies;
  for (const tensor& each : values)
    here.push_back(on.to_device(each));
  if (here.empty() || here.front().type() == on.compute_type())
    return here;
  for (const tensor& each : here)
    copies.push_back(on.allocate(each.shape()));
  on.cast_all(here, copies);
  return copies;
}

void pass::save(tensor value) {
  if (keeps())
    saved_.push_back(std::move(value));
}

tensor pass::restore() {
  assert(!saved_.empty());
  tensor value = std::move(saved_.back());
  saved_.pop_back();
  return value;
}

tensor pass::gradient(std::size_t parameter, bool& fresh) {
  tensor& value = gradients[parameter];
  fresh = !value;
  if (fresh)
    value = on.allocate(on.accumulation_type(), parameters[parameter].shape());
  return value;
}

tensor pass::gradient(std::size_t parameter) {
  bool fresh = false;
  const tensor value = gradient(parameter, fresh);
  if (fresh)
    on.zero(value);
  return value;
}

double pass::loss_sum() const {
  assert(losses);
  const tensor sum = on.allocate(dtype::float64, {});
  on.sum_elements(losses, sum);
  return *on.to_host(sum).data<double>();
}

std::int64_t pass::target_count() const {
  assert(host_targets_);
  return std::ranges::count_if(host_targets_.elements<std::int32_t>(), [](auto target) { return target >= 0; });
}

}  // namespace troupe
