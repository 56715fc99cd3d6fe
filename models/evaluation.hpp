#pragma once

#include <cstdint>
#include <span>

#include "models/data/dataset.hpp"
#include "models/model.hpp"

namespace troupe {

struct evaluation_settings {
  std::uint64_t every = 0;      ///< steps between evaluations; 0: only at the end
  std::uint64_t batches = 20;   ///< batches of each split; 0: no evaluation at all
  std::int64_t batch = 0;       ///< sequences in each; 0: as in training
};

/// Mean loss per target over the first `batches` batches of `rows` sequences of one split: the same samples at every
/// call. NaN where the split holds no whole sequence. `parameters` by index in the model's space, as a pass takes them.
double mean_loss(const model& of, stream& on, std::span<const tensor> parameters, const dataset& data, split part,
                 std::uint64_t seed, std::uint64_t batches, std::int64_t rows, std::int64_t context);

}  // namespace troupe
