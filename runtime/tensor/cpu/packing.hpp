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

/// out[k * Stride + i] = in[i * along + k * step] for i < Width and k < depth, with zeros for i >= valid, the number
/// of rows there are. One of `along` and `step` is 1. REQUIRES: Stride >= Width rounded up to whole vectors, or that
/// the caller lets rows be written beyond Width.
template <int Width, int Stride>
void pack_panel(const float* in, std::int64_t along, std::int64_t step, std::int64_t valid, std::int64_t depth,
                float* out) noexcept {
  if (along == 1) {
    for (std::int64_t k = 0; k < depth; ++k) {
      if (valid >= Width) {
        each_vector(Width, [&](std::int64_t i, auto part) { store(out + k * Stride + i, load(in + k * step + i, part), part); });
      } else {
        std::fill_n(std::copy_n(in + k * step, valid, out + k * Stride), Width - valid, 0.0f);
      }
    }
    return;
  }
  for (std::int64_t first = 0; first < Width; first += lanes) {
    const auto rows = std::min<std::int64_t>(std::min<std::int64_t>(valid, Width) - first, lanes);
    const auto width = std::min<std::int64_t>(Width - first, lanes);
    each_vector(depth, [&](std::int64_t k, auto part) {
      floats block[16]{};
      for (std::int64_t i = 0; i < rows; ++i)
        block[i] = load(in + (first + i) * along + k, part);
      transpose(block);
      const auto count = std::min<std::int64_t>(depth - k, lanes);
      for (std::int64_t i = 0; i < count; ++i) {
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
