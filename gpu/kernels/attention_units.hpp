#pragma once

/// What attention's kernels on the matrix units share. A block of `warps` warps holds a tile of rows (queries, or keys),
/// each warp 16 or 32 of them for itself, and walks over tiles of what they meet; scores stay in registers, where a
/// product leaves them as the next one wants them (arXiv:2307.08691).

#include <algorithm>
#include <functional>
#include <initializer_list>

#include "gpu/kernels/attention_tiles.hpp"
#include "gpu/kernels/matrix_units.hpp"

namespace troupe::gpu {

/// Sizes of one instance: head sizes up to `width`, `tiles` times 16 rows a warp, that meet `met` rows at a time.
template <int width_, int tiles_, int met_>
struct units_tiling {
  static constexpr int warps = 4;
  static constexpr int threads = warps * warp_size;
  static constexpr int width = width_;
  static constexpr int tiles = tiles_;
  static constexpr int met = met_;
  static constexpr int rows = warps * tiles * 16;
};

/// Whether these kernels take tensors of rows of heads: bfloat16, of heads of at most 128. The 16 bytes that a thread
/// copies at once must lie within a head, and begin at multiples of 16: as activations do, which have memory of their own.
inline bool suits_matrix_units(std::int64_t head_size, std::initializer_list<std::reference_wrapper<const tensor>> rows) {
  constexpr std::size_t at_once = 16;
  return head_size <= 128 && head_size * sizeof(bfloat16) % at_once == 0 &&
         std::ranges::all_of(rows, [](const tensor& each) {
           return each.type() == dtype::bfloat16 && reinterpret_cast<std::uintptr_t>(each.bytes()) % at_once == 0;
         });
}

// -- the kernels; pointers as in the methods of `stream`, bfloat16 but for log_sum_exp --

void attention_units_forward(const operation& op, const attention_shape& of, const dropout_factors& dropout,
                             const bfloat16* qkv, bfloat16* out, float* log_sum_exp);

void attention_units_backward(const operation& op, const attention_shape& of, const dropout_factors& dropout,
                              const backward_arguments<bfloat16>& from);

// -- what they are made of ------------------------------------------------------------

/// The first row of a warp's own, of its block's.
template <class T>
__device__ int own_row() {
  return static_cast<int>(threadIdx.x) / warp_size * T::tiles * 16;
}

/// Begins to copy rows first .. first + count of a matrix whose rows are `width` apart, `size` elements of each; zeros
/// beyond `rows` and `size`. By all threads of the block.
template <class T, int count>
__device__ void copy_rows(const bfloat16* from, std::int64_t width, std::int64_t first, std::int64_t rows,
                          std::int64_t size, shared_rows<T::width> to) {
  constexpr int at_once = 8, parts = T::width / at_once;
  for (int i = static_cast<int>(threadIdx.x); i < count * parts; i += T::threads) {
    const int r = i / parts, c = i % parts * at_once;
    const bool exists = first + r < rows && c < size;
    copy_ahead(to.data + r * to.stride + c, exists ? from + (first + r) * width + c : from, exists);
  }
}

/// out = rows of `left` from `row` on, times the transpose of the first `met` rows of `right`.
template <class T>
__device__ void multiply_rows(shared_rows<T::width> left, int row, shared_rows<T::width> right,
                              sum_tile (&out)[T::tiles][T::met / 8]) {
#pragma unroll
  for (int i = 0; i < T::tiles; ++i)
#pragma unroll
    for (int j = 0; j < T::met / 8; ++j)
      out[i][j] = {};
#pragma unroll
  for (int c = 0; c < T::width; c += 16) {
    left_tile lefts[T::tiles];
#pragma unroll
    for (int i = 0; i < T::tiles; ++i)
      lefts[i] = left.left(row + i * 16, c);
#pragma unroll
    for (int j = 0; j < T::met / 8; j += 2) {
      right_tile rights[2];
      right.right_of_rows(j * 8, c, rights);
#pragma unroll
      for (int i = 0; i < T::tiles; ++i) {
        multiply_add(out[i][j], lefts[i], rights[0]);
        multiply_add(out[i][j + 1], lefts[i], rights[1]);
      }
    }
  }
}

/// sums += weights, rounded to bfloat16, times the first `met` rows of `right`.
template <class T>
__device__ void add_weighted_rows(const sum_tile (&weights)[T::tiles][T::met / 8], shared_rows<T::width> right,
                                  sum_tile (&sums)[T::tiles][T::width / 8]) {
#pragma unroll
  for (int k = 0; k < T::met / 8; k += 2) {
    left_tile lefts[T::tiles];
#pragma unroll
    for (int i = 0; i < T::tiles; ++i)
#pragma unroll
      for (int part = 0; part < 4; ++part) {  // sums lie as left factors do
        const auto& [first, second] = weights[i][k + part / 2].of[part % 2];
        lefts[i].pairs[part] = pair_of(first, second);
      }
#pragma unroll
    for (int c = 0; c < T::width / 8; c += 2) {
      right_tile rights[2];
      right.right(k * 8, c * 8, rights);
#pragma unroll
      for (int i = 0; i < T::tiles; ++i) {
        multiply_add(sums[i][c], lefts[i], rights[0]);
        multiply_add(sums[i][c + 1], lefts[i], rights[1]);
      }
    }
  }
}

/// Calls body(i, half, row) for the rows of a warp's tiles in which the calling lane has elements.
template <class T, class Body>
__device__ void each_own_row(Body&& body) {
#pragma unroll
  for (int i = 0; i < T::tiles; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half)
      body(i, half, own_row<T>() + i * 16 + half * 8 + static_cast<int>(threadIdx.x) % warp_size / 4);
}

/// The column of element i of a lane in tile j of a row of tiles.
__device__ inline int own_column(int j, int i) { return j * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + i; }

/// Sums over a head's columns to rows that are `width` apart, the block's first being `first`; nothing beyond `rows` and
/// `size`.
template <class T>
__device__ void write_rows(const sum_tile (&sums)[T::tiles][T::width / 8], std::int64_t first, std::int64_t rows,
                           std::int64_t width, std::int64_t size, bfloat16* to) {
  each_own_row<T>([&](int i, int half, int row) {
#pragma unroll
    for (int c = 0; c < T::width / 8; ++c)
      if (const int column = own_column(c, 0); first + row < rows && column < size) {
        const auto& [one, other] = sums[i][c].of[half];
        *reinterpret_cast<bfloat16_pair*>(to + (first + row) * width + column) = pair_of(one, other);
      }
  });
}

}  // namespace troupe::gpu
