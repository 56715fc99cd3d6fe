#pragma once

/// What attention's forward and backward passes share: small products of blocks that lie in the first- and
/// second-level caches, and the addresses and packed copies of one head.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <utility>

#include "runtime/tensor/cpu/packing.hpp"
#include "runtime/tensor/cpu/tile.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe::cpu {

/// Keys are taken this many at a time.
inline constexpr std::int64_t key_tile = 128;
/// Rows of a block product's tiles: few, since the causal edge cuts them.
inline constexpr int block_tile_rows = std::min(tile_rows, 8);

constexpr std::int64_t round_up(std::int64_t count, std::int64_t unit) { return (count + unit - 1) / unit * unit; }

/// c[rows, columns] = alpha * a * b or += that; see `tile_operands`. Whole vectors of b and c are touched up to `columns`
/// rounded up.
inline void multiply_block(std::int64_t rows, std::int64_t columns, const tile_operands& in, float alpha,
                           tile_store how, float* c, std::int64_t c_row) noexcept {
  using function = void (*)(const tile_operands&, float, tile_store, float*, std::int64_t);
  constexpr auto functions = []<int Vectors, int... Rows>(std::integral_constant<int, Vectors>,
                                                          std::integer_sequence<int, Rows...>) {
    return std::array<function, sizeof...(Rows)>{
        [](const tile_operands& o, float scale, tile_store store_how, float* out, std::int64_t out_row) {
          multiply_tile<Rows + 1, Vectors>(o, scale, store_how, out, out_row);
        }...};
  };
  constexpr std::make_integer_sequence<int, block_tile_rows> all_rows;
  static constexpr auto wide = functions(std::integral_constant<int, tile_vectors>{}, all_rows);
  static constexpr auto narrow = functions(std::integral_constant<int, 1>{}, all_rows);
  for (std::int64_t i = 0; i < rows; i += block_tile_rows) {
    const auto count = std::min<std::int64_t>(rows - i, block_tile_rows);
    tile_operands part = in;
    part.a += i * in.a_row;
    for (std::int64_t j = 0; j < columns;) {
      const bool is_wide = columns - j > lanes;
      part.b = in.b + j;
      (is_wide ? wide : narrow)[static_cast<std::size_t>(count - 1)](part, alpha, how, c + i * c_row + j, c_row);
      j += is_wide ? tile_columns : lanes;
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

/// Copies rows of `size` elements, `stride` apart, to rows padded with zeros to whole vectors.
inline void pack_rows(const float* in, std::int64_t stride, std::int64_t rows, std::int64_t size, float* out) noexcept {
  const auto padded = round_up(size, lanes);
  for (std::int64_t r = 0; r < rows; ++r)
    each_vector(size, [&](std::int64_t i, auto part) { store(out + r * padded + i, load(in + r * stride + i, part)); });
}

/// Transposes rows into tiles of `key_tile` columns: element (row s, i) to tile s / key_tile, at [i][s % key_tile].
/// Columns past the last row, up to whole vectors of a tile kernel, are zero.
inline void pack_transposed(const float* in, std::int64_t stride, std::int64_t rows, std::int64_t size,
                            float* out) noexcept {
  for (std::int64_t s = 0; s < round_up(rows, tile_columns); s += lanes)
    pack_panel<lanes, key_tile>(in + s * stride, stride, 1, std::max<std::int64_t>(rows - s, 0), size,
                                out + s / key_tile * key_tile * size + s % key_tile);
}

/// Floats that `pack_transposed` writes to.
inline std::int64_t transposed_size(std::int64_t rows, std::int64_t size) { return round_up(rows, key_tile) * size; }

}  // namespace troupe::cpu
