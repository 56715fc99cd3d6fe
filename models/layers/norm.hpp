#pragma once

#include <cstdint>
#include <string>

#include "models/model.hpp"

namespace troupe {

enum class norm_kind : std::uint8_t { layer_norm, rms_norm };

struct norm_settings {
  norm_kind kind = norm_kind::layer_norm;
  std::int64_t channels = 0;
  double epsilon = 1e-5;
  bool bias = true;  ///< layer_norm only
};

/// Normalises rows. Parameters: "weight" and, for a layer norm with `bias`, "bias".
class norm : public layer {
 public:
  explicit norm(const norm_settings& settings) : settings_(settings) {
    settings_.bias &= settings_.kind == norm_kind::layer_norm;
  }

  void declare(parameter_space& space, const std::string& prefix) override;
  tensor forward(pass& p, const tensor& x) const override;
  tensor backward(pass& p, const tensor& dy) const override;

  /// Sums a residual stream on the way, at no extra pass over memory: residual = x + delta; returns its normalisation.
  tensor forward(pass& p, const tensor& x, const tensor& delta, tensor& residual) const;
  /// dx = residual_gradient (where given) + the gradient through the normalisation. dx may be either argument.
  void backward(pass& p, const tensor& dy, const tensor& residual_gradient, const tensor& dx) const;

 private:
  norm_settings settings_;
  std::size_t weight_ = 0;
  std::size_t bias_ = 0;

  tensor bias(const pass& p) const { return settings_.bias ? p.parameters[bias_] : tensor{}; }
  /// `normalised` is `residual`, or x where there is none; it is saved.
  tensor run(pass& p, const tensor& x, const tensor& delta, const tensor& residual, const tensor& normalised) const;
};

}  // namespace troupe
