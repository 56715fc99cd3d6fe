#pragma once

#include <cstdint>
#include <vector>

#include "models/model.hpp"

namespace troupe {

/// A plain multi-layer perceptron that classifies rows of float32 features.
struct mlp_settings {
  std::int64_t inputs = 0;
  std::vector<std::int64_t> hidden{128};
  std::int64_t classes = 0;
  activation nonlinearity = activation::relu;
};

model make_mlp(const mlp_settings& settings);

}  // namespace troupe
