#pragma once

#include <span>

namespace troupe {

/// What to multiply a gradient by as the optimizer reads it, and its norm before clipping.
struct clipped_gradient {
  double norm = 0.0;
  double scale = 1.0;
};

/// Clips by the global norm (Pascanu et al. 2013, arXiv:1211.5063), as PyTorch's clip_grad_norm_ does.
/// `squares` holds each parameter's sum of squared gradients in order of the parameter space, whoever computed it: the
/// sum runs in that order, so that the bits do not depend on the sharding. `scale` turns summed gradients into the mean
/// (1 / targets); `clip` is the largest norm of the mean gradient, 0 for none.
clipped_gradient clip_gradient(std::span<const double> squares, double scale, double clip) noexcept;

}  // namespace troupe
