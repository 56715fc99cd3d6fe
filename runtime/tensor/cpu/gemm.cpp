#include "runtime/tensor/cpu/gemm.hpp"

#include <algorithm>
#include <array>

#include "runtime/tensor/cpu/packing.hpp"
#include "runtime/tensor/cpu/tile.hpp"

namespace troupe::cpu {

namespace {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// A panel of b, depth_max x tile_columns, fills two thirds of a 48 KiB first-level cache; a block of a and a block of b
// together a second-level cache of 2 MiB.
constexpr std::int64_t depth_max = 256;
constexpr std::int64_t block_rows_max = 73 * tile_rows;
constexpr std::int64_t block_columns_max = 512;
// A task is a part of the block: small enough for several per thread, large enough to make its overhead vanish.
constexpr std::int64_t task_rows = 8 * tile_rows;
constexpr std::int64_t task_columns = 128;

/// Floats from one row of a packed panel of a to the next: whole vectors where the transposition stores them.
constexpr int a_stride = (tile_rows + static_cast<int>(lanes) - 1) / static_cast<int>(lanes) * static_cast<int>(lanes);

using tile_function = void (*)(const tile_operands&, float, tile_store, float*, std::int64_t);

/// The kernels for 1 .. tile_rows rows.
constexpr auto tile_functions = []<int... Rows>(std::integer_sequence<int, Rows...>) {
  return std::array<tile_function, sizeof...(Rows)>{
      [](const tile_operands& in, float alpha, tile_store how, float* c, std::int64_t c_row) {
        multiply_tile<Rows + 1, tile_vectors, 1>(in, alpha, how, c, c_row);
      }...};
}(std::make_integer_sequence<int, tile_rows>{});

/// Multiplies packed panels of a and b into rows [row, row_end) x columns [column, column_end) of the block c.
void multiply_panels(const float* a, const float* b, std::int64_t depth, float alpha, tile_store how, float* c,
                     std::int64_t c_row, std::int64_t row, std::int64_t row_end, std::int64_t column,
                     std::int64_t column_end) noexcept {
  for (auto j = column; j < column_end; j += tile_columns) {
    const auto columns = std::min<std::int64_t>(column_end - j, tile_columns);
    for (auto i = row; i < row_end; i += tile_rows) {
      const auto rows = std::min<std::int64_t>(row_end - i, tile_rows);
      const tile_operands in{a + i / tile_rows * a_stride * depth, 1, a_stride, b + j * depth, tile_columns, depth};
      const auto multiply = tile_functions[static_cast<std::size_t>(rows - 1)];
      float* out = c + i * c_row + j;
      if (columns == tile_columns) {
        multiply(in, alpha, how, out, c_row);
        continue;
      }
      alignas(64) float edge[tile_rows * tile_columns];
      multiply(in, alpha, tile_store::overwrite, edge, tile_columns);
      for (std::int64_t m = 0; m < rows; ++m)
        for (std::int64_t n = 0; n < columns; ++n)
          out[m * c_row + n] = edge[m * tile_columns + n] + (how == tile_store::add ? out[m * c_row + n] : 0.0f);
    }
  }
}

/// The extent of equal pieces, each a multiple of `unit` and at most `most`.
std::int64_t even_piece(std::int64_t count, std::int64_t most, std::int64_t unit) {
  return ceil_div(ceil_div(count, ceil_div(count, most)), unit) * unit;
}

}  // namespace

void gemm(team& workers, device& memory, const gemm_shape& shape, const matrix_view& a, const matrix_view& b, float* c,
          std::int64_t c_row, const gemm_options& options, const finisher& finish) {
  const auto [rows, columns, depth] = shape;
  if (rows == 0 || columns == 0)
    return;
  const auto block_depth = even_piece(std::max<std::int64_t>(depth, 1), depth_max, 1);
  const auto block_rows = even_piece(rows, block_rows_max, tile_rows);
  const auto block_columns = even_piece(columns, block_columns_max, tile_columns);
  const tensor packed_a_memory = memory.allocate(dtype::float32, {block_rows / tile_rows * a_stride * block_depth});
  const tensor packed_b_memory = memory.allocate(dtype::float32, {block_columns * block_depth});
  float* packed_a = packed_a_memory.mutable_data<float>();
  float* packed_b = packed_b_memory.mutable_data<float>();

  for (std::int64_t r = 0; r < rows; r += block_rows) {
    const auto r_count = std::min(rows - r, block_rows);
    const auto a_panels = ceil_div(r_count, tile_rows);
    for (std::int64_t n = 0; n < columns; n += block_columns) {
      const auto n_count = std::min(columns - n, block_columns);
      const auto b_panels = ceil_div(n_count, tile_columns);
      for (std::int64_t k = 0; k == 0 || k < depth; k += block_depth) {
        const auto k_count = std::min(depth - k, block_depth);
        // One block of depth: a stays packed for all columns.
        const bool a_is_packed = n > 0 && depth <= block_depth;
        workers.run(b_panels + (a_is_packed ? 0 : a_panels), [&](std::int64_t task, int) {
          if (task < b_panels) {
            const auto j = task * tile_columns;
            pack_panel<tile_columns, tile_columns>(b.data + k * b.row + (n + j) * b.column, b.column, b.row, n_count - j,
                                                   k_count, packed_b + j * k_count);
          } else {
            const auto panel = task - b_panels, i = panel * tile_rows;
            pack_panel<tile_rows, a_stride>(a.data + (r + i) * a.row + k * a.column, a.row, a.column, r_count - i,
                                            k_count, packed_a + panel * a_stride * k_count);
          }
        });
        const auto how = k > 0 || options.accumulate ? tile_store::add : tile_store::overwrite;
        const bool is_last = k + block_depth >= depth;
        const auto across = ceil_div(n_count, task_columns);
        workers.run(across * ceil_div(r_count, task_rows), [&](std::int64_t task, int) {
          const auto i = task / across * task_rows, i_end = std::min(i + task_rows, r_count);
          const auto j = task % across * task_columns, j_end = std::min(j + task_columns, n_count);
          multiply_panels(packed_a, packed_b, k_count, options.alpha, how, c + r * c_row + n, c_row, i, i_end, j, j_end);
          if (is_last)
            finish({r + i, r + i_end, n + j, n + j_end});
        });
      }
    }
  }
}

}  // namespace troupe::cpu
