#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "actors/parameter_shard.hpp"

namespace troupe {

/// Steps that a shard has applied of one lane, and what is there of the next.
struct lane_gradients {
  std::uint64_t next_step = 0;
  std::uint64_t applied = 0;

  // The step under way: pieces of `attempt` for next_step.
  std::uint64_t attempt = 0;
  std::vector<tensor> gradients;  ///< by parameter of the shard; empty handles: still to come
  std::optional<complete_step> completed;

  std::vector<tensor> read;  ///< values handed out for next_step; delay compensation only

  void forget_pending() {
    gradients.assign(gradients.size(), {});
    completed.reset();
  }

  /// Whether pieces of `attempt` count; a later attempt displaces what an earlier one left.
  bool admits(std::uint64_t of_attempt) {
    if (of_attempt < attempt)
      return false;
    if (of_attempt > attempt) {
      attempt = of_attempt;
      forget_pending();
    }
    return true;
  }

  bool is_whole() const {
    for (const auto& gradient : gradients)
      if (!gradient)
        return false;
    return true;
  }

  void count_applied() {
    ++next_step;
    ++applied;
    forget_pending();
  }
};

}  // namespace troupe
