#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

#include "runtime/tensor/cpu/team.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe::cpu {

/// Element (i, j) at data[i * row + j * column], where one of the strides is 1.
struct matrix_view {
  const float* data;
  std::int64_t row;
  std::int64_t column;

  matrix_view transposed() const noexcept { return {data, column, row}; }
};

/// A row-major matrix of this many columns.
inline matrix_view rows_of(const float* data, std::int64_t columns) noexcept { return {data, columns, 1}; }

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
        call_([](void* context, const finished_part& part) { (*static_cast<std::remove_reference_t<F>*>(context))(part); }) {}

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
/// The algorithm of Goto and van de Geijn (2008, "Anatomy of High-Performance Matrix Multiplication"): blocks of both
/// operands are packed so that the tile kernel reads them in sequence, b's from the first-level and a's from the
/// second-level cache. Blocks, tasks and the order of sums follow from the shape alone.
void gemm(team& workers, device& memory, const gemm_shape& shape, const matrix_view& a, const matrix_view& b, float* c,
          std::int64_t c_row, const gemm_options& options = {}, const finisher& finish = {});

}  // namespace troupe::cpu
