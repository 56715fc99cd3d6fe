#pragma once

#include <string>

#include "models/layers/attention.hpp"
#include "models/layers/dropout.hpp"
#include "models/layers/feed_forward.hpp"
#include "models/layers/norm.hpp"

namespace troupe {

struct transformer_block_settings {
  norm_settings normalisation;
  attention_settings attention;
  feed_forward_settings feed_forward;
  double dropout = 0.0;  ///< of what each half adds to the residual stream
};

/// Pre-norm transformer block: r = x + attention(norm1(x)); y = r + feed_forward(norm2(r)).
class transformer_block : public layer {
 public:
  explicit transformer_block(const transformer_block_settings& settings);

  void declare(parameter_space& space, const std::string& prefix) override;
  tensor forward(pass& p, const tensor& x) const override;
  tensor backward(pass& p, const tensor& dy) const override;

 private:
  norm norm1_;
  attention attention_;
  norm norm2_;
  feed_forward feed_forward_;
  double dropout_;
  std::size_t layer_;

  dropout_options dropout(const pass& p, dropout_site site) const { return dropout_at(p, dropout_, layer_, site); }
};

}  // namespace troupe
