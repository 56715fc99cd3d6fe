#pragma once

#include <span>
#include <vector>

#include "runtime/tensor/tensor.hpp"

namespace troupe {

class stream;

/// A few float64 numbers that a message carries while a device may still be computing them: whoever wants to see one
/// waits, nobody else does. To other processes they travel as numbers, not as a tensor.
class numbers {
 public:
  numbers() = default;  ///< none
  /// float64, on any device.
  numbers(tensor values) noexcept : values_(std::move(values)) {}
  explicit numbers(std::span<const double> values);

  /// For kernels; empty where there are none.
  const tensor& handle() const noexcept { return values_; }
  /// Waits where they are on a device, on a stream of the calling thread.
  std::vector<double> to_vector() const;
  /// Of all, in their order; 0 where there are none. Waits likewise.
  double sum() const;

  /// Brings all to the host, by this stream, waiting once.
  static void settle(stream& on, std::span<numbers* const> all);

 private:
  tensor values_;
};

}  // namespace troupe
