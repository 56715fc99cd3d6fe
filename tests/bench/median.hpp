#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace troupe::bench {

/// Robust against a neighbour that comes and goes. REQUIRES: there are values. Of an even number of them it is the
/// upper of the two in the middle.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace troupe::bench
