#include "runtime/tensor/cpu/gemm.hpp"

#include <dnnl.h>
#include <omp.h>

#include <algorithm>
#include <cassert>

namespace troupe::cpu {

namespace {

/// Equal parts of c (but the last of a row or column), each one call of the library.
struct tiling {
  std::int64_t rows, columns;
};

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Halves the longer side: until there are two parts, where that is worth waking a helper; until there are several,
/// or parts take no more than a few milliseconds, while they stay long enough for the library to run at full speed.
tiling tiles_of(const gemm_shape& shape) {
  constexpr double flops_min = 8e6, flops_some = 24e6, flops_max = 700e6;
  constexpr std::int64_t side_min = 128, side_full = 768;
  constexpr int tiles_some = 8;
  tiling tile{shape.rows, shape.columns};
  for (int tiles = 1;; tiles *= 2) {
    auto& side = tile.rows >= tile.columns ? tile.rows : tile.columns;
    const double flops =
        2.0 * static_cast<double>(tile.rows) * static_cast<double>(tile.columns) * static_cast<double>(shape.depth);
    const bool halve = (tiles < 2 && side >= side_min && flops > flops_min) ||
                       (side >= side_full && flops > (tiles < tiles_some ? flops_some : flops_max));
    if (!halve)
      return tile;
    const std::int64_t unit = &side == &tile.rows ? 8 : 48;  // of the library's own kernel with AVX-512
    side = ceil_div(ceil_div(side, 2), unit) * unit;
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

}  // namespace

void gemm(team& workers, const gemm_shape& shape, const matrix_view& a, const matrix_view& b, float* c,
          std::int64_t c_row, const gemm_options& options, const finisher& finish) {
  const auto tile = tiles_of(shape);
  const auto across = ceil_div(shape.columns, std::max<std::int64_t>(tile.columns, 1));
  const auto down = ceil_div(shape.rows, std::max<std::int64_t>(tile.rows, 1));
  workers.run(across * down, [&](std::int64_t task, int) {
    const single_threaded here;
    const auto i = task / across * tile.rows, i_end = std::min(i + tile.rows, shape.rows);
    const auto j = task % across * tile.columns, j_end = std::min(j + tile.columns, shape.columns);
    [[maybe_unused]] const auto status =
        dnnl_sgemm(a.is_transposed ? 'T' : 'N', b.is_transposed ? 'T' : 'N', i_end - i, j_end - j, shape.depth,
                   options.alpha, a.from_row(i), a.row, b.from_column(j), b.row, options.accumulate ? 1.0f : 0.0f,
                   c + i * c_row + j, c_row);
    assert(status == dnnl_success);
    finish({i, i_end, j, j_end});
  });
}

}  // namespace troupe::cpu
