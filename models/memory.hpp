#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "models/model.hpp"
#include "models/optimizer.hpp"
#include "models/planning_device.hpp"

namespace troupe {

/// Of who owns a range of parameters, in float32, and updates them.
struct owner_estimate {
  std::size_t parameters_bytes = 0;
  std::size_t optimizer_bytes = 0;
  std::size_t updates_bytes = 0;  ///< beside those two and the gradients, while they are updated
};

/// Of parameters first .. last - 1.
owner_estimate estimate_owner(const model& of, const optimizer& rule, std::size_t first, std::size_t last,
                              const planned_hardware& on = {});

/// The tensors of one training program that holds a model once, with parameters in float32.
struct memory_estimate {
  std::size_t parameters_bytes = 0;
  std::size_t working_bytes = 0;  ///< parameters as passes compute with them, where that is not float32
  std::size_t gradients_bytes = 0;
  std::size_t optimizer_bytes = 0;
  std::size_t updates_bytes = 0;  ///< beside those three, while they are updated
  /// Most that one trip of a batch takes: saved activations, their gradients, and the logits at hand for the loss.
  std::size_t activations_bytes = 0;

  std::size_t total_bytes() const noexcept {
    return parameters_bytes + working_bytes + gradients_bytes + optimizer_bytes + updates_bytes + activations_bytes;
  }
};

/// Of a language model that trains on batches of int32[rows, time] tokens; found by a dry run on a planning_device,
/// so that it holds for any layers. `recompute` is by block, as in `pass`; empty for none.
memory_estimate estimate_memory(const model& of, const optimizer& rule, std::int64_t rows, std::int64_t time,
                                const std::vector<bool>& recompute = {}, const planned_hardware& on = {});

/// What forward passes of such batches take that save nothing, as in evaluations.
std::size_t estimate_evaluation(const model& of, std::int64_t rows, std::int64_t time, const planned_hardware& on = {});

}  // namespace troupe
