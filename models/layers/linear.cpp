#include "models/layers/linear.hpp"

namespace troupe {

void linear::declare(parameter_space& space, const std::string& prefix) {
  weight_ = space.add(prefix + ".weight", {settings_.outputs, settings_.inputs}, settings_.start,
                      parameter_kind::matrix);
  if (settings_.bias)
    bias_ = space.add(prefix + ".bias", {settings_.outputs}, initializer::zeros(), parameter_kind::vector);
}

tensor linear::forward(pass& p, const tensor& x) const {
  const tensor& input = x ? x : p.input().tokens;
  p.save(input);
  const tensor y = p.on.allocate({input.shape()[0], settings_.outputs});
  p.on.linear_forward(input, p.parameters[weight_], bias(p), y);
  return y;
}

tensor linear::forward(pass& p, const tensor& x, activation kind, tensor& pre) const {
  const tensor& input = x ? x : p.input().tokens;
  p.save(input);
  const shape extents{input.shape()[0], settings_.outputs};
  pre = p.on.allocate(extents);
  const tensor y = p.on.allocate(extents);
  p.on.linear_activation_forward(kind, input, p.parameters[weight_], bias(p), pre, y);
  return y;
}

tensor linear::backward(pass& p, const tensor& dy) const {
  const tensor x = p.restore();
  const bool reads_input = x.owner() == p.input().tokens.owner();
  const tensor dx = reads_input ? tensor{} : p.on.allocate(x.shape());
  bool fresh = false;
  const tensor dweight = p.gradient(weight_, fresh);
  p.on.linear_backward(dy, x, p.parameters[weight_], dx, dweight, settings_.bias ? p.gradient(bias_) : tensor{}, fresh);
  return dx;
}

tensor linear::backward(pass& p, const tensor& dy, activation kind) const {
  const tensor x = p.restore(), pre = p.restore();
  const tensor dpre = p.on.allocate(x.shape());
  bool fresh = false;
  const tensor dweight = p.gradient(weight_, fresh);
  p.on.linear_activation_backward(kind, pre, dy, x, p.parameters[weight_], dpre, dweight,
                                  settings_.bias ? p.gradient(bias_) : tensor{}, fresh);
  return dpre;
}

}  // namespace troupe
