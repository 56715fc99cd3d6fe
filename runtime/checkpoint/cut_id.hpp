#pragma once

#include <compare>
#include <cstdint>

namespace troupe {

/// Tells a cut of a run from every other. The step alone does not: a job that goes back and comes to the same step again
/// has other parameters there, except in sync mode.
struct cut_id {
  std::uint64_t epoch = 0;  ///< of the job, when the cut was taken
  std::uint64_t step = 0;

  friend auto operator<=>(const cut_id&, const cut_id&) = default;
};

}  // namespace troupe
