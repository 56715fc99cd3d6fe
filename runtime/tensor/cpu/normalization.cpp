#include <cassert>
#include <cmath>

#include "runtime/tensor/cpu/cpu_stream.hpp"
#include "runtime/tensor/cpu/simd.hpp"

namespace troupe::cpu {

namespace {

const float* data_or_null(const tensor& t) { return t ? t.data<float>() : nullptr; }
float* mutable_or_null(const tensor& t) { return t ? t.mutable_data<float>() : nullptr; }

/// Two kinds in one: layer normalisation takes the mean off, RMS normalisation does not.
enum class kind { layer, rms };

struct forward_arguments {
  std::int64_t columns;
  const float* x;
  const float* delta;
  const float* weight;
  const float* bias;
  float epsilon;
  float* residual;
  float* y;
  float* mean;
  float* rstd;
};

template <kind Kind>
void forward_row(const forward_arguments& in, std::int64_t row) noexcept {
  const auto columns = in.columns;
  const auto scale = 1.0f / static_cast<float>(columns);
  const float* x = in.x + row * columns;
  if (in.delta) {
    const float* delta = in.delta + row * columns;
    float* residual = in.residual + row * columns;
    each_vector(columns, [&](std::int64_t c, auto part) {
      store(residual + c, load(x + c, part) + load(delta + c, part), part);
    });
    x = residual;
  }
  float mean = 0.0f;
  if constexpr (Kind == kind::layer) {
    floats sums{};
    each_vector(columns, [&](std::int64_t c, auto part) { sums += load(x + c, part); });
    mean = sum_of(sums) * scale;
    in.mean[row] = mean;
  }
  floats squares{};
  each_vector(columns, [&](std::int64_t c, auto part) {
    const floats centred = keep(load(x + c, part) - mean, part, 0.0f);
    squares += centred * centred;
  });
  const float rstd = 1.0f / std::sqrt(sum_of(squares) * scale + in.epsilon);
  in.rstd[row] = rstd;
  float* y = in.y + row * columns;
  each_vector(columns, [&](std::int64_t c, auto part) {
    floats v = (load(x + c, part) - mean) * rstd * load(in.weight + c, part);
    if (in.bias)
      v += load(in.bias + c, part);
    store(y + c, v, part);
  });
}

struct backward_arguments {
  std::int64_t columns;
  const float* dy;
  const float* x;
  const float* weight;
  const float* mean;
  const float* rstd;
  const float* residual_gradient;
  float* dx;
};

/// dweight and dbias are this block of rows' part; dbias may be null.
template <kind Kind>
void backward_row(const backward_arguments& in, std::int64_t row, float* dweight, float* dbias) noexcept {
  const auto columns = in.columns;
  const float* dy = in.dy + row * columns;
  const float* x = in.x + row * columns;
  const float mean = Kind == kind::layer ? in.mean[row] : 0.0f, rstd = in.rstd[row];
  floats gradient_sums{}, product_sums{};
  each_vector(columns, [&](std::int64_t c, auto part) {
    const floats d = load(dy + c, part), normal = (load(x + c, part) - mean) * rstd;
    const floats gradient = d * load(in.weight + c, part);
    gradient_sums += gradient;
    product_sums += gradient * normal;
    store(dweight + c, load(dweight + c, part) + d * normal, part);
    if (dbias)
      store(dbias + c, load(dbias + c, part) + d, part);
  });
  const auto scale = 1.0f / static_cast<float>(columns);
  const float gradient_mean = Kind == kind::layer ? sum_of(gradient_sums) * scale : 0.0f;
  const float product_mean = sum_of(product_sums) * scale;
  const float* passed_by = in.residual_gradient ? in.residual_gradient + row * columns : nullptr;
  float* dx = in.dx + row * columns;
  each_vector(columns, [&](std::int64_t c, auto part) {
    const floats normal = (load(x + c, part) - mean) * rstd;
    floats v = (load(dy + c, part) * load(in.weight + c, part) - gradient_mean - normal * product_mean) * rstd;
    if (passed_by)
      v += load(passed_by + c, part);
    store(dx + c, v, part);
  });
}

/// Rows are cut into at most this many blocks, each with its own sums for the parameters' gradients, which are then
/// added in order: the same blocks whatever the number of threads.
constexpr std::int64_t blocks_max = 32;
constexpr std::int64_t block_rows_min = 16;

}  // namespace

void cpu_stream::layer_norm_forward(const tensor& x, const tensor& delta, const tensor& weight, const tensor& bias,
                                    double epsilon, const tensor& residual, const tensor& y, const tensor& mean,
                                    const tensor& rstd) {
  const auto columns = weight.count(), rows = x.count() / columns;
  assert(y.count() == x.count() && mean.count() == rows && rstd.count() == rows);
  assert(!delta || (delta.count() == x.count() && residual.count() == x.count()));
  const forward_arguments in{columns, x.data<float>(), data_or_null(delta), weight.data<float>(), data_or_null(bias),
                             static_cast<float>(epsilon), mutable_or_null(residual), y.mutable_data<float>(),
                             mean.mutable_data<float>(), rstd.mutable_data<float>()};
  each_rows(rows, columns, [&](std::int64_t first, std::int64_t last) {
    for (auto r = first; r < last; ++r)
      forward_row<kind::layer>(in, r);
  });
}

void cpu_stream::rms_norm_forward(const tensor& x, const tensor& delta, const tensor& weight, double epsilon,
                                  const tensor& residual, const tensor& y, const tensor& rstd) {
  const auto columns = weight.count(), rows = x.count() / columns;
  assert(y.count() == x.count() && rstd.count() == rows);
  assert(!delta || (delta.count() == x.count() && residual.count() == x.count()));
  const forward_arguments in{columns, x.data<float>(), data_or_null(delta), weight.data<float>(), nullptr,
                             static_cast<float>(epsilon), mutable_or_null(residual), y.mutable_data<float>(), nullptr,
                             rstd.mutable_data<float>()};
  each_rows(rows, columns, [&](std::int64_t first, std::int64_t last) {
    for (auto r = first; r < last; ++r)
      forward_row<kind::rms>(in, r);
  });
}

template <class Row>
void cpu_stream::norm_backward(std::int64_t rows, std::int64_t columns, const tensor& dweight, const tensor& dbias,
                               Row&& row) {
  const auto block_rows = std::max(block_rows_min, (rows + blocks_max - 1) / blocks_max);
  const auto blocks = (rows + block_rows - 1) / block_rows;
  const std::int64_t width = dbias ? 2 * columns : columns;
  const tensor parts = scratch(blocks * width);
  team_.run(blocks, [&](std::int64_t block, int) {
    float* sums = parts.mutable_data<float>() + block * width;
    std::fill_n(sums, width, 0.0f);
    for (auto r = block * block_rows; r < std::min(rows, (block + 1) * block_rows); ++r)
      row(r, sums, dbias ? sums + columns : nullptr);
  });
  const auto add_parts = [&](const tensor& to, std::int64_t offset) {
    float* out = to.mutable_data<float>();
    each_vector(columns, [&](std::int64_t c, auto part) {
      floats sum{};
      for (std::int64_t block = 0; block < blocks; ++block)
        sum += load(parts.data<float>() + block * width + offset + c, part);
      store(out + c, load(out + c, part) + sum, part);
    });
  };
  if (dweight)
    add_parts(dweight, 0);
  if (dbias)
    add_parts(dbias, columns);
}

void cpu_stream::layer_norm_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& mean,
                                     const tensor& rstd, const tensor& residual_gradient, const tensor& dx,
                                     const tensor& dweight, const tensor& dbias) {
  const auto columns = weight.count(), rows = x.count() / columns;
  assert(dy.count() == x.count() && dx.count() == x.count());
  const backward_arguments in{columns, dy.data<float>(), x.data<float>(), weight.data<float>(), mean.data<float>(),
                              rstd.data<float>(), data_or_null(residual_gradient), dx.mutable_data<float>()};
  norm_backward(rows, columns, dweight, dbias, [&](std::int64_t r, float* dw, float* db) {
    backward_row<kind::layer>(in, r, dw, db);
  });
}

void cpu_stream::rms_norm_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& rstd,
                                   const tensor& residual_gradient, const tensor& dx, const tensor& dweight) {
  const auto columns = weight.count(), rows = x.count() / columns;
  assert(dy.count() == x.count() && dx.count() == x.count());
  const backward_arguments in{columns, dy.data<float>(), x.data<float>(), weight.data<float>(), nullptr,
                              rstd.data<float>(), data_or_null(residual_gradient), dx.mutable_data<float>()};
  norm_backward(rows, columns, dweight, {}, [&](std::int64_t r, float* dw, float* db) {
    backward_row<kind::rms>(in, r, dw, db);
  });
}

}  // namespace troupe::cpu
