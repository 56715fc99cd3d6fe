#pragma once

#include <cstdint>
#include <string>

#include "models/model.hpp"

namespace troupe {

struct linear_settings {
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  bool bias = true;  ///< starts at zero
  initializer start = {};
};

/// y[N, outputs] = x[N, inputs] * weight[outputs, inputs]^T + bias. As a model's first block it reads the pass's input.
/// Parameters: "weight" and, with `bias`, "bias".
class linear : public layer {
 public:
  explicit linear(const linear_settings& settings) : settings_(settings) {}

  void declare(parameter_space& space, const std::string& prefix) override;
  tensor forward(pass& p, const tensor& x) const override;
  /// Returns activation(pre) with pre = x * weight^T + bias, in one kernel. The caller keeps `pre`.
  tensor forward(pass& p, const tensor& x, activation kind, tensor& pre) const;
  tensor backward(pass& p, const tensor& dy) const override;
  /// Of an x that is activation(pre), where the caller saved `pre` just before `forward`: returns the gradient of `pre`.
  tensor backward(pass& p, const tensor& dy, activation kind) const;

 private:
  linear_settings settings_;
  std::size_t weight_ = 0;
  std::size_t bias_ = 0;

  tensor bias(const pass& p) const { return settings_.bias ? p.parameters[bias_] : tensor{}; }
};

}  // namespace troupe
