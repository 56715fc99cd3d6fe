#include "models/layers/feed_forward.hpp"

namespace troupe {

namespace {

using kind = feed_forward_settings::kind;

/// REQUIRES: not gated.
activation activation_of(kind nonlinearity) {
  switch (nonlinearity) {
    case kind::gelu:
      return activation::gelu;
    case kind::gelu_tanh:
      return activation::gelu_tanh;
    case kind::relu:
      return activation::relu;
    default:
      return activation::silu;
  }
}

}  // namespace

feed_forward::feed_forward(const feed_forward_settings& settings)
    : settings_(settings),
      up_({settings.channels, (gated() ? 2 : 1) * settings.hidden, settings.bias, settings.start}),
      down_({settings.hidden, settings.channels, settings.bias, settings.down_start}) {
  // nop
}

void feed_forward::declare(parameter_space& space, const std::string& prefix) {
  up_.declare(space, prefix + ".up");
  down_.declare(space, prefix + ".down");
}

tensor feed_forward::forward(pass& p, const tensor& x) const {
  tensor pre, hidden;
  if (gated()) {
    pre = up_.forward(p, x);
    hidden = p.on.allocate({pre.shape()[0], settings_.hidden});
    p.on.swiglu_forward(pre, hidden);
  } else {
    hidden = up_.forward(p, x, activation_of(settings_.nonlinearity), pre);
  }
  p.save(std::move(pre));
  return down_.forward(p, hidden);
}

tensor feed_forward::backward(pass& p, const tensor& dy) const {
  if (!gated())
    return up_.backward(p, down_.backward(p, dy, activation_of(settings_.nonlinearity)));
  const tensor dhidden = down_.backward(p, dy);
  const tensor pre = p.restore();
  const tensor dpre = p.on.allocate(pre.shape());
  p.on.swiglu_backward(pre, dhidden, dpre);
  return up_.backward(p, dpre);
}

}  // namespace troupe
