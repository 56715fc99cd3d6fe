#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime/tensor/cpu/simd.hpp"

namespace troupe::cpu {

/// Transposes sixteen rows of sixteen in place.
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

/// out[c * out_row + r] = in[r * in_row + c] for r < rows, c < columns. Rows of out are written in whole vectors, with
/// zeros past the last.
inline void transpose(const float* in, std::int64_t in_row, std::int64_t rows, std::int64_t columns, float* out,
                      std::int64_t out_row) noexcept {
  for (std::int64_t r = 0; r < rows; r += lanes) {
    const float* from = in + r * in_row;
    const auto some_rows = std::min(rows - r, lanes);
    std::int64_t c = 0;
    if (some_rows == lanes) {
      for (; c + lanes <= columns; c += lanes) {  // a block of whole vectors stays in registers
        floats block[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i)
          block[i] = load(from + i * in_row + c);
        transpose(block);
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i)
          store(out + (c + i) * out_row + r, block[i]);
      }
    }
    for (; c < columns; c += lanes) {
      const auto some_columns = std::min(columns - c, lanes);
      floats block[16]{};
      for (std::int64_t i = 0; i < some_rows; ++i)
        block[i] = load(from + i * in_row + c, first_lanes{static_cast<int>(some_columns)});
      transpose(block);
      for (std::int64_t i = 0; i < some_columns; ++i)
        store(out + (c + i) * out_row + r, block[i]);
    }
  }
}

}  // namespace troupe::cpu
