#pragma once

#include <cstdint>

#include "runtime/tensor/device.hpp"

namespace troupe::cpu {

/// What dropout multiplies elements with: zero, or 1 / (1 - p).
class random_factors {
 public:
  /// Most factors of one call.
  static constexpr std::int64_t run = 256;

  explicit random_factors(const dropout_options& options) noexcept;

  explicit operator bool() const noexcept { return threshold_ != 0; }

  /// The factors of elements first .. first + count of the key's sequence. REQUIRES: count <= run.
  void draw(std::uint64_t first, std::int64_t count, float* out) const noexcept;

 private:
  random_key key_;
  std::uint32_t threshold_;
  float survivor_;
};

}  // namespace troupe::cpu
