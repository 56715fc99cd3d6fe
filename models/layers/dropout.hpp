#pragma once

#include <cstdint>

#include "models/pass.hpp"

namespace troupe {

/// Where a transformer drops elements; folded into the pass's key with the layer's number.
enum class dropout_site : std::uint64_t { embedding, attention_scores, attention, feed_forward };

/// Nothing is dropped outside training.
inline dropout_options dropout_at(const pass& p, double probability, std::size_t layer, dropout_site site) {
  return {p.training ? probability : 0.0, p.key().fold(layer).fold(static_cast<std::uint64_t>(site))};
}

/// In place.
inline void drop(pass& p, const dropout_options& options, const tensor& x) {
  if (options.probability > 0.0)
    p.on.dropout(options, x, x);
}

/// The gradient of what `drop` was given; dy itself where nothing was dropped.
inline tensor drop_backward(pass& p, const dropout_options& options, const tensor& dy) {
  if (options.probability == 0.0)
    return dy;
  const tensor dx = p.on.allocate(dy.shape());
  p.on.dropout(options, dy, dx);
  return dx;
}

}  // namespace troupe
