#include "models/layers/softmax_head.hpp"

#include <stdexcept>

#include <fmt/format.h>

namespace troupe {

softmax_head::softmax_head(const softmax_head_settings& settings) : settings_(settings) {
  if (settings.normalisation)
    norm_.emplace(*settings.normalisation);
}

void softmax_head::declare(parameter_space& space, const std::string& prefix) {
  if (norm_)
    norm_->declare(space, prefix + ".norm");
  const shape extents{settings_.classes, settings_.channels};
  if (settings_.tied_to.empty()) {
    weight_ = space.add(prefix + ".weight", extents, settings_.start, parameter_kind::table);
    return;
  }
  weight_ = space.find(settings_.tied_to);
  if (weight_ == space.size() || space[weight_].extents != extents)
    throw std::invalid_argument(fmt::format("{} is tied to '{}', but no block before it has such a parameter of shape {}",
                                            prefix, settings_.tied_to, to_string(extents)));
}

tensor softmax_head::forward(pass& p, const tensor& x) const {
  const bool generates = !p.input().targets;
  const tensor rows = generates ? last_rows(p, x) : x;
  const tensor hidden = norm_ ? norm_->forward(p, rows) : rows;
  if (generates) {
    p.logits = p.on.allocate({hidden.shape()[0], settings_.classes});
    p.on.linear_forward(hidden, p.parameters[weight_], {}, p.logits);
  } else {
    compute_losses(p, hidden);
  }
  return {};
}

void softmax_head::compute_losses(pass& p, const tensor& hidden) const {
  const tensor targets = p.input().targets.reshaped({hidden.shape()[0]});
  p.losses = p.on.allocate(p.on.accumulation_type(), {hidden.shape()[0]});
  const tensor dhidden = p.training ? p.on.allocate(hidden.shape()) : tensor{};
  bool fresh = false;
  const tensor dweight = p.training ? p.gradient(weight_, fresh) : tensor{};
  p.on.linear_cross_entropy(hidden, p.parameters[weight_], targets, p.losses, dhidden, dweight, fresh);
  p.save(dhidden);
}

tensor softmax_head::last_rows(pass& p, const tensor& x) const {
  const std::int64_t sequences = p.input().tokens.shape()[0];
  const std::int64_t time = x.shape()[0] / sequences;
  if (time == 1)
    return x;
  const shape row{settings_.channels};
  const auto last_of = [&](std::int64_t s) { return ((s + 1) * time - 1) * settings_.channels; };
  if (sequences == 1)
    return x.slice(last_of(0), {1, settings_.channels});
  const tensor rows = p.on.allocate({sequences, settings_.channels});
  for (std::int64_t s = 0; s < sequences; ++s)
    p.on.copy(x.slice(last_of(s), row), rows.slice(s * settings_.channels, row));
  return rows;
}

tensor softmax_head::backward(pass& p, const tensor&) const {
  const tensor dhidden = p.restore();
  if (norm_)
    norm_->backward(p, dhidden, {}, dhidden);
  return dhidden;
}

}  // namespace troupe
