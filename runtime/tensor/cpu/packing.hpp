#pragma once

/// Copies blocks of matrices into the order in which the tile kernel reads them.

#include <algorithm>
#include <cstdint>

#include "runtime/tensor/cpu/simd.hpp"

namespace troupe::cpu {

/// Transposes sixteen rows in place.
[[gnu::always_inline]] inline void transpose(floats (&r)[16]) noexcept {
  // Each round exchanges, between rows `distance` apart, blocks of `distance` lanes off the diagonal.
  const auto exchange = [&r](int distance, ints low, ints high) {
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      if (i & distance)
        continue;
      const floats a = r[i], b = r[i + distance];
      r[i] = __builtin_shuffle(a, b, low);
      r[i + distance] = __builtin_shuffle(a, b, high);
    }
  };
  exchange(1, ints{0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30},
           ints{1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31});
  exchange(2, ints{0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29},
           ints{2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31});
  exchange(4, ints{0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27},
           ints{4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31});
  exchange(8, ints{0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23},
           ints{8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31});
}

/// A packed matrix is a row of panels, each `Width` of the matrix's long side wide: element (k, i) of a panel at
/// [k * Stride + i], zero past the matrix's edge. Panels follow each other at `panel_size` floats.
///
/// Packs k in [first, last) of all panels from a matrix whose long side is contiguous, row by row, so that each memory
/// page is visited once.
template <int Width, int Stride>
void pack_rows(const float* in, std::int64_t step, std::int64_t count, std::int64_t first, std::int64_t last, float* out,
               std::int64_t panel_size) noexcept {
  for (auto k = first; k < last; ++k) {
    const float* row = in + k * step;
    for (std::int64_t i = 0; i < count; i += Width) {
      float* to = out + i / Width * panel_size + k * Stride;
      if (count - i >= Width) {
        each_vector(Width, [&](std::int64_t n, auto part) { store(to + n, load(row + i + n, part), part); });
      } else {
        std::fill_n(std::copy_n(row + i, count - i, to), Width - (count - i), 0.0f);
      }
    }
  }
}

/// Packs one panel of at most `count` columns from a matrix whose short side, k, is contiguous.
template <int Width, int Stride>
void pack_columns(const float* in, std::int64_t along, std::int64_t count, std::int64_t depth, float* out) noexcept {
  for (std::int64_t first = 0; first < Width; first += lanes) {
    const auto rows = std::clamp<std::int64_t>(count - first, 0, lanes);
    const auto width = std::min<std::int64_t>(Width - first, lanes);
    each_vector(depth, [&](std::int64_t k, auto part) {
      floats block[16]{};
      for (std::int64_t i = 0; i < rows; ++i)
        block[i] = load(in + (first + i) * along + k, part);
      transpose(block);
      const auto steps = std::min<std::int64_t>(depth - k, lanes);
      for (std::int64_t i = 0; i < steps; ++i) {
        float* to = out + (k + i) * Stride + first;
        if (width == lanes)
          store(to, block[i]);
        else
          store(to, block[i], first_lanes{static_cast<int>(width)});
      }
    });
  }
}

}  // namespace troupe::cpu
