#include "models/layers/norm.hpp"

namespace troupe {

void norm::declare(parameter_space& space, const std::string& prefix) {
  weight_ = space.add(prefix + ".weight", {settings_.channels}, initializer::ones(), parameter_kind::vector);
  if (settings_.bias)
    bias_ = space.add(prefix + ".bias", {settings_.channels}, initializer::zeros(), parameter_kind::vector);
}

tensor norm::forward(pass& p, const tensor& x) const {
  return run(p, x, {}, {}, x);
}

tensor norm::forward(pass& p, const tensor& x, const tensor& delta, tensor& residual) const {
  residual = p.on.allocate(x.shape());
  return run(p, x, delta, residual, residual);
}

tensor norm::run(pass& p, const tensor& x, const tensor& delta, const tensor& residual,
                 const tensor& normalised) const {
  const shape rows{x.shape()[0]};
  const tensor y = p.on.allocate(x.shape());
  const tensor rstd = p.on.allocate(p.on.accumulation_type(), rows);
  p.save(normalised);
  p.save(rstd);
  if (settings_.kind == norm_kind::rms_norm) {
    p.on.rms_norm_forward(x, delta, p.parameters[weight_], settings_.epsilon, residual, y, rstd);
  } else {
    const tensor mean = p.on.allocate(p.on.accumulation_type(), rows);
    p.save(mean);
    p.on.layer_norm_forward(x, delta, p.parameters[weight_], bias(p), settings_.epsilon, residual, y, mean,
                            rstd);
  }
  return y;
}

tensor norm::backward(pass& p, const tensor& dy) const {
  const tensor dx = p.on.allocate(dy.shape());
  backward(p, dy, {}, dx);
  return dx;
}

void norm::backward(pass& p, const tensor& dy, const tensor& residual_gradient, const tensor& dx) const {
  const tensor mean = settings_.kind == norm_kind::layer_norm ? p.restore() : tensor{};
  const tensor rstd = p.restore();
  const tensor x = p.restore();
  if (settings_.kind == norm_kind::rms_norm)
    p.on.rms_norm_backward(dy, x, p.parameters[weight_], rstd, residual_gradient, dx, p.gradient(weight_));
  else
    p.on.layer_norm_backward(dy, x, p.parameters[weight_], mean, rstd, residual_gradient, dx, p.gradient(weight_),
                             settings_.bias ? p.gradient(bias_) : tensor{});
}

}  // namespace troupe
