#pragma once

/// What attention's forward and backward passes share: small products of blocks that lie in the first- and
/// second-level caches, and the addresses and packed copies of one head.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "runtime/tensor/cpu/transpose.hpp"
#include "runtime/tensor/cpu/tile.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe::cpu {

/// Keys are taken this many at a time.
inline constexpr std::int64_t key_tile = 128;

constexpr std::int64_t round_up(std::int64_t count, std::int64_t unit) { return (count + unit - 1) / unit * unit; }

/// c[rows, columns] = alpha * a * b or += that; see `tile_operands`. Whole vectors of b and c are touched, up to
/// `columns` rounded up.
inline void multiply_block(std::int64_t rows, std::int64_t columns, const tile_operands& in, float alpha,
                           tile_store how, float* c, std::int64_t c_row) noexcept {
  const auto vectors = (columns + lanes - 1) / lanes, across = (vectors + tile_vectors - 1) / tile_vectors;
  for (std::int64_t i = 0; i < rows; i += tile_rows) {
    tile_operands part = in;
    part.a += i * in.a_row;
    // Tiles of about equal width: two of two vectors, not one of three and one of one.
    for (std::int64_t tile = 0; tile < across; ++tile) {
      const auto first = tile * vectors / across, last = (tile + 1) * vectors / across;
      part.b = in.b + first * lanes;
      tile_kernel(std::min<std::int64_t>(rows - i, tile_rows), last - first)(
          part, {c + i * c_row + first * lanes, c_row, alpha, how});
    }
  }
}

/// Addresses of one sequence's heads in packed projections (or their gradient).
struct head_rows {
  float* query;
  float* key;
  float* value;
  std::int64_t width;  ///< floats from one position to the next

  head_rows(const attention_shape& geometry, const tensor& qkv, std::int64_t sequence, std::int64_t head)
      : width(geometry.row_width()) {
    float* first = qkv.mutable_data<float>() + sequence * geometry.time * width;
    const auto kv_head = head / (geometry.heads / geometry.kv_heads);
    query = first + head * geometry.head_size;
    key = first + (geometry.heads + kv_head) * geometry.head_size;
    value = first + (geometry.heads + geometry.kv_heads + kv_head) * geometry.head_size;
  }
};

inline float score_scale(const attention_shape& geometry) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(geometry.head_size)));
}

/// Rows of projections are far apart: the hardware does not foresee the next one, so copies fetch this far ahead.
inline constexpr std::int64_t rows_ahead = 16;

/// Copies rows of `size` elements, `stride` apart, to rows padded with zeros to whole vectors.
inline void pack_rows(const float* in, std::int64_t stride, std::int64_t rows, std::int64_t size, float* out) noexcept {
  const auto padded = round_up(size, lanes);
  for (std::int64_t r = 0; r < rows; ++r)
    each_vector(size, [&](std::int64_t i, auto part) {
      __builtin_prefetch(in + (r + rows_ahead) * stride + i);
      store(out + r * padded + i, load(in + r * stride + i, part));
    });
}

/// Transposes rows into tiles of `key_tile` columns: element (row s, i) to tile s / key_tile, at [i][s % key_tile].
/// Columns past the last row, up to whole vectors, are zero.
inline void pack_transposed(const float* in, std::int64_t stride, std::int64_t rows, std::int64_t size,
                            float* out) noexcept {
  for (std::int64_t s = 0; s < rows; s += key_tile)
    transpose(in + s * stride, stride, std::min(rows - s, key_tile), size, out + s * size, key_tile);
}

/// Floats that `pack_transposed` writes to.
inline std::int64_t transposed_size(std::int64_t rows, std::int64_t size) { return round_up(rows, key_tile) * size; }

}  // namespace troupe::cpu
