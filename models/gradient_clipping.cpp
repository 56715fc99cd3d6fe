#include "models/gradient_clipping.hpp"

#include <algorithm>
#include <cmath>

namespace troupe {

clipped_gradient clip_gradient(std::span<const double> squares, double scale, double clip) noexcept {
  double sum = 0.0;
  for (const double square : squares)
    sum += square;
  const double norm = scale * std::sqrt(sum);
  if (clip <= 0.0)
    return {norm, scale};
  constexpr double least_norm = 1e-6;  // avoids 0 / 0
  return {norm, scale * std::min(1.0, clip / (norm + least_norm))};
}

}  // namespace troupe
