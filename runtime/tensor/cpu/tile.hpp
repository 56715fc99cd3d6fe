#pragma once

/// The innermost loop of attention's small products: a tile of c stays in registers while outer products of a column of
/// a and a row of b are added to it.

#include <array>
#include <cstdint>
#include <utility>

#include "runtime/tensor/cpu/simd.hpp"

namespace troupe::cpu {

// As large a tile as the registers hold beside a row of b and an element of a.
#if defined(__AVX512F__)
inline constexpr int tile_rows = 8;
inline constexpr int tile_vectors = 3;
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

/// Where it goes: c = alpha * a * b or += that.
struct tile_target {
  float* c;
  std::int64_t row;
  float alpha;
  tile_store how;
};

template <int Rows, int Vectors>
void multiply_tile(const tile_operands& in, const tile_target& out) noexcept {
  floats sums[Rows][Vectors]{};
  const float* a = in.a;
  const float* b = in.b;
  const auto a_row = in.a_row, a_step = in.a_step, b_step = in.b_step;
  for (auto k = in.depth; k > 0; --k, a += a_step, b += b_step) {
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
  const auto write = [&](auto combine) {
#pragma GCC unroll 16
    for (int m = 0; m < Rows; ++m)
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        float* c = out.c + m * out.row + v * lanes;
        store(c, combine(c, sums[m][v] * out.alpha));
      }
  };
  if (out.how == tile_store::add)
    write([](const float* c, floats product) { return load(c) + product; });
  else
    write([](const float*, floats product) { return product; });
}

using tile_function = void (*)(const tile_operands&, const tile_target&) noexcept;

/// The kernel for tiles of `rows` in [1, tile_rows] and `vectors` in [1, tile_vectors].
inline tile_function tile_kernel(std::int64_t rows, std::int64_t vectors) noexcept {
  static constexpr auto kernels = []<int... Shape>(std::integer_sequence<int, Shape...>) {
    return std::array<tile_function, sizeof...(Shape)>{multiply_tile<Shape % tile_rows + 1, Shape / tile_rows + 1>...};
  }(std::make_integer_sequence<int, tile_rows * tile_vectors>{});
  return kernels[static_cast<std::size_t>((vectors - 1) * tile_rows + rows - 1)];
}

}  // namespace troupe::cpu
