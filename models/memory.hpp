#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "models/model.hpp"
#include "models/optimizer.hpp"

namespace troupe {

/// The tensors of one training program that holds a model once, in float32.
struct memory_estimate {
  std::size_t parameters_bytes = 0;
  std::size_t gradients_bytes = 0;
  std::size_t optimizer_bytes = 0;
  /// Most that one trip of a batch takes: saved activations, their gradients, and the logits at hand for the loss.
  std::size_t activations_bytes = 0;

  std::size_t total_bytes() const noexcept {
    return parameters_bytes + gradients_bytes + optimizer_bytes + activations_bytes;
  }
};

/// Of a language model that trains on batches of int32[rows, time] tokens; found by a dry run on a planning_device,
/// so that it holds for any layers. `recompute` is by block, as in `pass`; empty for none.
memory_estimate estimate_memory(const model& of, const optimizer& rule, std::int64_t rows, std::int64_t time,
                                const std::vector<bool>& recompute = {});

}  // namespace troupe
