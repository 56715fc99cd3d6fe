#pragma once

#include <cassert>
#include <cstdint>
#include <span>

#include "runtime/tensor/random.hpp"
#include "runtime/tensor/tensor.hpp"

namespace troupe::reference {

/// A tensor as a matrix: the innermost extent is a row, all others count rows. An absent tensor has no rows.
struct matrix {
  double* first = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;

  explicit matrix(const tensor& of) {
    if (!of)
      return;
    first = of.mutable_data<double>();
    columns = of.shape().back();
    rows = columns == 0 ? 0 : of.count() / columns;
  }

  double& operator()(std::int64_t row, std::int64_t column) const noexcept { return first[row * columns + column]; }
  std::span<double> operator[](std::int64_t row) const noexcept {
    return {first + row * columns, static_cast<std::size_t>(columns)};
  }
};

/// A tensor's elements, flat; none for an absent one.
inline std::span<double> elements(const tensor& of) {
  return of ? of.mutable_elements<double>() : std::span<double>();
}

/// What dropout multiplies element `index` by.
inline double dropout_factor(double probability, const random_key& key, std::int64_t index) noexcept {
  const bool dropped = random_word(key, static_cast<std::uint64_t>(index)) < dropout_threshold(probability);
  return dropped ? 0.0 : 1.0 / (1.0 - probability);
}

}  // namespace troupe::reference
