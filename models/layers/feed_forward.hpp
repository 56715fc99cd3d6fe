#pragma once

#include <cstdint>
#include <string>

#include "models/layers/linear.hpp"

namespace troupe {

struct feed_forward_settings {
  enum class kind : std::uint8_t { gelu, gelu_tanh, relu, silu, swiglu };

  kind nonlinearity = kind::gelu_tanh;
  std::int64_t channels = 0;
  std::int64_t hidden = 0;
  bool bias = true;
  initializer start = {};
  initializer down_start = {};
};

/// down(activation(up(x))), for every position alone. Parameters: "up" and "down", each a `linear`; for swiglu
/// "up" packs gate and up, [2 * hidden, channels].
class feed_forward : public layer {
 public:
  explicit feed_forward(const feed_forward_settings& settings);

  void declare(parameter_space& space, const std::string& prefix) override;
  tensor forward(pass& p, const tensor& x) const override;
  tensor backward(pass& p, const tensor& dy) const override;

 private:
  feed_forward_settings settings_;
  linear up_;
  linear down_;

  bool gated() const noexcept { return settings_.nonlinearity == feed_forward_settings::kind::swiglu; }
};

}  // namespace troupe
