#pragma once

#include <cstdint>
#include <type_traits>

#include "runtime/tensor/cpu/team.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe::cpu {

/// A row-major matrix as it stands in memory, `row` elements from row to row, or its transpose.
struct matrix_view {
  const float* data;
  std::int64_t row;
  bool is_transposed = false;

  matrix_view transposed() const noexcept { return {data, row, !is_transposed}; }
  /// Without the rows before i, or the columns before j, of what this stands for.
  matrix_view from_row(std::int64_t i) const noexcept {
    return {data + i * (is_transposed ? 1 : row), row, is_transposed};
  }
  matrix_view from_column(std::int64_t j) const noexcept {
    return {data + j * (is_transposed ? row : 1), row, is_transposed};
  }
};

/// A row-major matrix of this many columns.
inline matrix_view rows_of(const float* data, std::int64_t columns) noexcept { return {data, columns}; }

/// A part of c that has its final value.
struct finished_part {
  std::int64_t first_row, last_row;        ///< half open
  std::int64_t first_column, last_column;  ///< half open
};

/// Called by the thread that finished a part of c, while it is in that core's cache.
class finisher {
 public:
  finisher() = default;
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, finisher>)
  finisher(F&& f)  // NOLINT: a view of a callable, for the length of one call
      : context_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* context, const finished_part& part) {
          (*static_cast<std::remove_reference_t<F>*>(context))(part);
        }) {}

  void operator()(const finished_part& part) const {
    if (call_)
      call_(context_, part);
  }

 private:
  void* context_ = nullptr;
  void (*call_)(void*, const finished_part&) = nullptr;
};

struct gemm_shape {
  std::int64_t rows;     ///< of a and c
  std::int64_t columns;  ///< of b and c
  std::int64_t depth;    ///< columns of a, rows of b
};

struct gemm_options {
  float alpha = 1.0f;
  bool accumulate = false;
};

/// c = alpha * a * b, or += that; c is row-major, `c_row` elements from row to row.
///
/// Computed by oneDNN, a part of c at a time and each by one thread. Parts follow from the shape alone, so results do
/// not depend on the number of threads.
void gemm(team& workers, device& memory, const gemm_shape& shape, const matrix_view& a, const matrix_view& b, float* c,
          std::int64_t c_row, const gemm_options& options = {}, const finisher& finish = {});

}  // namespace troupe::cpu
