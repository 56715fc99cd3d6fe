#pragma once

#include <string>

#include "models/layers/linear.hpp"

namespace troupe {

/// activation(linear(x)): a hidden layer of a multi-layer perceptron. Parameters: those of `linear`.
class hidden_layer : public layer {
 public:
  hidden_layer(const linear_settings& settings, activation nonlinearity)
      : linear_(settings), nonlinearity_(nonlinearity) {}

  void declare(parameter_space& space, const std::string& prefix) override { linear_.declare(space, prefix); }

  tensor forward(pass& p, const tensor& x) const override {
    tensor pre;
    const tensor y = linear_.forward(p, x, nonlinearity_, pre);
    p.save(pre);
    return y;
  }

  tensor backward(pass& p, const tensor& dy) const override {
    const tensor pre = p.restore();
    const tensor dpre = p.on.allocate(pre.shape());
    p.on.activation_backward(nonlinearity_, pre, dy, dpre);
    return linear_.backward(p, dpre);
  }

 private:
  linear linear_;
  activation nonlinearity_;
};

}  // namespace troupe
