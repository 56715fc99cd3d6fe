#pragma once

/// The innermost loop of every matrix product: a tile of c stays in registers while outer products of a column of a
/// and a row of b are added to it.

#include <cstdint>
#include <utility>

#include "runtime/tensor/cpu/simd.hpp"

namespace troupe::cpu {

// As large a tile as the registers hold, leaving one for the element of a and the rest for the row of b.
#if defined(__AVX512F__)
inline constexpr int tile_rows = 14;
inline constexpr int tile_vectors = 2;
#elif defined(__AVX2__)
inline constexpr int tile_rows = 6;
inline constexpr int tile_vectors = 1;
#else
inline constexpr int tile_rows = 3;
inline constexpr int tile_vectors = 1;
#endif
inline constexpr int tile_columns = tile_vectors * static_cast<int>(lanes);

enum class tile_store { overwrite, add };

/// What a tile is made of: element (m, k) of a is a[m * a_row + k * a_step]; row k of b is at b + k * b_step.
struct tile_operands {
  const float* a;
  std::int64_t a_row;
  std::int64_t a_step;
  const float* b;
  std::int64_t b_step;
  std::int64_t depth;
};

/// c[Rows, Vectors * lanes] = alpha * a * b, or += that.
template <int Rows, int Vectors, int Row_stride = 0>
[[gnu::always_inline]] inline void multiply_tile(const tile_operands& in, float alpha, tile_store how, float* c,
                                                 std::int64_t c_row) noexcept {
  floats sums[Rows][Vectors]{};
  const float* a = in.a;
  const float* b = in.b;
  const std::int64_t a_row = Row_stride ? Row_stride : in.a_row;
  for (std::int64_t k = 0; k < in.depth; ++k, a += in.a_step, b += in.b_step) {
    floats row[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v)
      row[v] = load(b + v * lanes);
#pragma GCC unroll 16
    for (int m = 0; m < Rows; ++m) {
      const floats element = broadcast(a[m * a_row]);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v)
        sums[m][v] += element * row[v];
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < Rows; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      float* out = c + m * c_row + v * lanes;
      const floats value = sums[m][v] * alpha;
      store(out, how == tile_store::add ? load(out) + value : value);
    }
  }
}

}  // namespace troupe::cpu
