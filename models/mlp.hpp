#pragma once

#include <cstdint>
#include <vector>

#include "models/model.hpp"

namespace troupe {

/// A plain multi-layer perceptron that classifies rows of float32 features: blocks "blocks.0" .. "blocks.N-1",
/// one for each hidden layer, and "head". Weights start as in He et al. 2015 (arXiv:1502.01852).
struct mlp_settings {
  std::int64_t inputs = 0;
  std::vector<std::int64_t> hidden{128};
  std::int64_t classes = 0;
  activation nonlinearity = activation::relu;
};

/// Throws std::invalid_argument where an extent is not positive.
model make_mlp(const mlp_settings& settings);

}  // namespace troupe
