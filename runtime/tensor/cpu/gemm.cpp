#include "runtime/tensor/cpu/gemm.hpp"

#include <dnnl.h>
#include <omp.h>

#include <algorithm>
#include <cassert>

#include "runtime/tensor/cpu/transpose.hpp"

namespace troupe::cpu {

namespace {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// A row of a turned operand: a vector longer than it has to be, so that rows do not all fall into the same few sets
/// of a cache.
constexpr std::int64_t turned_row(std::int64_t width) { return ceil_div(width, lanes) * lanes + lanes; }

/// Depth of the pieces in which a transposed left operand is turned, while they are in the cache.
constexpr std::int64_t turned_depth = 384;
/// Rows of such a piece: with more, it is out of the second-level cache, of which what it is multiplied by takes half a
/// megabyte, before it is used.
constexpr std::int64_t turned_rows_max = 192;
/// Columns of a transposed right operand that one task turns.
constexpr std::int64_t turned_columns = 64;
/// A right operand is turned where as many rows gain from it.
constexpr std::int64_t turned_for_rows = 512;

/// Equal parts of c (but the last of a row or column), each the work of one thread.
struct tile_extent {
  std::int64_t rows, columns;

  double flops(std::int64_t depth) const {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(depth);
  }
};

/// Whether oneDNN packs its operands, by its own rule. Where it does not, it is slower by a tenth with a transposed right
/// operand, which is then turned for it; a transposed left one, slower by up to a half, always is.
bool is_packed(const tile_extent& tile) {
  return 1.0 / static_cast<double>(tile.rows) + 1.0 / static_cast<double>(tile.columns) < 0.00196;
}

/// Halves sides until there are two tiles, where that is worth waking a helper; then on, as long as tiles are large
/// and oneDNN gets no slower for it; and in any case until a tile takes no more than about fifteen milliseconds.
tile_extent tile_of(const gemm_shape& shape, bool turns_a) {
  constexpr double flops_min = 8e6, flops_some = 100e6, flops_max = 2.5e9;
  constexpr std::int64_t side_min = 128, side_full = 768;
  constexpr std::int64_t row_unit = 8, column_unit = 48;  // oneDNN's own tile with AVX-512
  const auto half = [](std::int64_t side, std::int64_t unit) { return ceil_div(ceil_div(side, 2), unit) * unit; };
  const tile_extent whole{shape.rows, shape.columns};
  tile_extent tile = whole;
  while (turns_a && tile.rows > turned_rows_max)
    tile.rows = half(tile.rows, row_unit);
  for (bool is_whole = tile.rows == whole.rows;; is_whole = false) {
    const tile_extent fewer_rows{half(tile.rows, row_unit), tile.columns};
    const tile_extent fewer_columns{tile.rows, half(tile.columns, column_unit)};
    // Tiles side by side each turn the same rows of a, which matters where they are narrow.
    const bool prefers_rows = tile.rows >= (turns_a ? std::min(tile.columns, 2 * side_min) : tile.columns);
    const bool by_rows = is_packed(fewer_rows) || (prefers_rows && !is_packed(fewer_columns));
    const auto& next = by_rows ? fewer_rows : fewer_columns;
    if (turns_a && !by_rows && !is_packed(next) && !is_whole)
      return tile;
    const auto side = std::max(tile.rows, tile.columns);
    const bool keeps_speed = is_packed(next) || !is_packed(whole);
    const double flops = tile.flops(shape.depth);
    if (!(is_whole && side >= side_min && flops > flops_min) &&
        !(side >= side_full && flops > (keeps_speed ? flops_some : flops_max)))
      return tile;
    tile = next;
  }
}

/// The library would start threads of its own; the team's are enough.
class single_threaded {
 public:
  single_threaded() : threads_(omp_get_max_threads()) {
    if (threads_ != 1)
      omp_set_num_threads(1);
  }
  ~single_threaded() {
    if (threads_ != 1)
      omp_set_num_threads(threads_);
  }

 private:
  int threads_;
};

/// One part of the product by the library; c += where it accumulates.
void multiply(const gemm_shape& part, const matrix_view& a, const matrix_view& b, float alpha, bool accumulate,
              float* c, std::int64_t c_row) {
  [[maybe_unused]] const auto status =
      dnnl_sgemm(a.is_transposed ? 'T' : 'N', b.is_transposed ? 'T' : 'N', part.rows, part.columns, part.depth, alpha,
                 a.data, a.row, b.data, b.row, accumulate ? 1.0f : 0.0f, c, c_row);
  assert(status == dnnl_success);
}

}  // namespace

void gemm(team& workers, device& memory, const gemm_shape& shape, const matrix_view& a, const matrix_view& b, float* c,
          std::int64_t c_row, const gemm_options& options, const finisher& finish) {
  if (shape.rows == 0 || shape.columns == 0)
    return;
  const auto tile = tile_of(shape, a.is_transposed);
  const bool turns_a = a.is_transposed;
  const bool turns_b = b.is_transposed && !is_packed(tile) && shape.rows >= turned_for_rows;

  matrix_view right = b;
  tensor right_memory;
  if (turns_b) {
    const auto row = turned_row(shape.columns);
    right_memory = memory.allocate(dtype::float32, {shape.depth * row});
    float* turned = right_memory.mutable_data<float>();
    workers.split(shape.columns, turned_columns, [&](std::int64_t first, std::int64_t last) {
      transpose(b.from_column(first).data, b.row, last - first, shape.depth, turned + first, row);
    });
    right = {turned, row};
  }

  const auto member_size = turns_a ? tile.rows * turned_row(turned_depth) : 0;
  const tensor left_memory = memory.allocate(dtype::float32, {member_size * workers.size()});
  const auto across = ceil_div(shape.columns, tile.columns), down = ceil_div(shape.rows, tile.rows);
  workers.run(across * down, [&](std::int64_t task, int member) {
    const single_threaded here;
    const auto i = task / across * tile.rows, j = task % across * tile.columns;
    const gemm_shape part{std::min(tile.rows, shape.rows - i), std::min(tile.columns, shape.columns - j), shape.depth};
    const matrix_view left = a.from_row(i), below = right.from_column(j);
    float* to = c + i * c_row + j;
    if (!turns_a) {
      multiply(part, left, below, options.alpha, options.accumulate, to, c_row);
    } else {
      const auto row = turned_row(turned_depth);
      float* turned = left_memory.mutable_data<float>() + member * member_size;
      for (std::int64_t k = 0; k < part.depth; k += turned_depth) {
        const auto depth = std::min(turned_depth, part.depth - k);
        transpose(left.from_column(k).data, left.row, depth, part.rows, turned, row);
        multiply({part.rows, part.columns, depth}, {turned, row}, below.from_row(k), options.alpha,
                 options.accumulate || k > 0, to, c_row);
      }
    }
    finish({i, i + part.rows, j, j + part.columns});
  });
}

}  // namespace troupe::cpu
