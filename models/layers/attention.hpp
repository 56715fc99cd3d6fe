#pragma once

#include <cstdint>
#include <string>

#include "models/layers/linear.hpp"

namespace troupe {

struct attention_settings {
  std::int64_t channels = 0;
  std::int64_t heads = 1;
  std::int64_t kv_heads = 1;  ///< grouped-query attention where fewer than heads
  bool rotary = false;
  double rotary_theta = 10000.0;
  bool bias = true;
  double dropout = 0.0;   ///< of attention weights
  std::size_t layer = 0;  ///< among the model's attention layers: its place in the key/value cache, its dropout key
  initializer start = {};
  initializer projection_start = {};
};

/// Causal self-attention. Parameters: "qkv" and "projection", each a `linear`.
class attention : public layer {
 public:
  explicit attention(const attention_settings& settings);

  void declare(parameter_space& space, const std::string& prefix) override;
  tensor forward(pass& p, const tensor& x) const override;
  tensor backward(pass& p, const tensor& dy) const override;

 private:
  attention_settings settings_;
  linear qkv_;
  linear projection_;

  attention_shape geometry(const pass& p) const;
  dropout_options dropout(const pass& p) const;
  tensor attend(pass& p, const tensor& qkv) const;
  tensor attend_cached(pass& p, const tensor& qkv) const;
};

}  // namespace troupe
