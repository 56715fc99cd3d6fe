#include "models/layers/transformer_block.hpp"

namespace troupe {

transformer_block::transformer_block(const transformer_block_settings& settings)
    : norm1_(settings.normalisation),
      attention_(settings.attention),
      norm2_(settings.normalisation),
      feed_forward_(settings.feed_forward),
      dropout_(settings.dropout),
      layer_(settings.attention.layer) {
  // nop
}

void transformer_block::declare(parameter_space& space, const std::string& prefix) {
  norm1_.declare(space, prefix + ".norm1");
  attention_.declare(space, prefix + ".attention");
  norm2_.declare(space, prefix + ".norm2");
  feed_forward_.declare(space, prefix + ".feed_forward");
}

tensor transformer_block::forward(pass& p, const tensor& x) const {
  tensor attended = attention_.forward(p, norm1_.forward(p, x));
  drop(p, dropout(p, dropout_site::attention), attended);
  tensor residual;
  const tensor normalised = norm2_.forward(p, x, attended, residual);
  attended = {};
  const tensor y = feed_forward_.forward(p, normalised);
  drop(p, dropout(p, dropout_site::feed_forward), y);
  p.on.scaled_add(1.0, residual, 1.0, y, y);
  return y;
}

tensor transformer_block::backward(pass& p, const tensor& dy) const {
  // Each half's gradient is fresh memory, which then takes up the residual's gradient.
  const tensor dresidual = feed_forward_.backward(p, drop_backward(p, dropout(p, dropout_site::feed_forward), dy));
  norm2_.backward(p, dresidual, dy, dresidual);
  const tensor dx = attention_.backward(p, drop_backward(p, dropout(p, dropout_site::attention), dresidual));
  norm1_.backward(p, dx, dresidual, dx);
  return dx;
}

}  // namespace troupe
