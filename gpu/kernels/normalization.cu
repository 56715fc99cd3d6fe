#include <algorithm>
#include <cassert>

#include "gpu/kernels/column_parts.hpp"

/// A block for each row; a thread sees the same columns in each pass over its row, so that what is written in place
/// disturbs nobody.

namespace troupe::gpu {

namespace {

/// Two kinds in one: layer normalisation takes the mean off, RMS normalisation does not.
enum class kind { layer, rms };

constexpr std::int64_t narrow = 512;

unsigned threads_for(std::int64_t columns) { return columns <= narrow ? 128 : 256; }

struct forward_arguments {
  std::int64_t columns;
  const float *x, *delta, *weight, *bias;
  float epsilon;
  float *residual, *y, *mean, *rstd;
};

template <kind Kind>
__global__ void norm_forward_kernel(forward_arguments in) {
  const std::int64_t row = blockIdx.x, first = row * in.columns;
  const float* x = in.x + first;
  const float scale = 1.0f / static_cast<float>(in.columns);
  float sum = 0.0f;
  for (std::int64_t c = threadIdx.x; c < in.columns; c += blockDim.x) {
    float v = x[c];
    if (in.delta) {
      v += in.delta[first + c];
      in.residual[first + c] = v;
    }
    sum += v;
  }
  if (in.delta)
    x = in.residual + first;
  const float mean = Kind == kind::layer ? block_sum(sum) * scale : 0.0f;
  float squares = 0.0f;
  for (std::int64_t c = threadIdx.x; c < in.columns; c += blockDim.x) {
    const float centred = x[c] - mean;
    squares += centred * centred;
  }
  const float rstd = 1.0f / sqrtf(block_sum(squares) * scale + in.epsilon);
  for (std::int64_t c = threadIdx.x; c < in.columns; c += blockDim.x) {
    const float v = (x[c] - mean) * rstd * in.weight[c];
    in.y[first + c] = in.bias ? v + in.bias[c] : v;
  }
  if (threadIdx.x == 0) {
    if (Kind == kind::layer)
      in.mean[row] = mean;
    in.rstd[row] = rstd;
  }
}

struct backward_arguments {
  std::int64_t rows, columns, block_rows;
  const float *dy, *x, *weight, *mean, *rstd, *residual_gradient;
  float* dx;
  float *weight_parts, *bias_parts;  ///< [blocks, columns]: sums over the rows of a block; may be null
};

template <kind Kind>
__global__ void norm_backward_kernel(backward_arguments in) {
  const std::int64_t first_row = blockIdx.x * in.block_rows, last_row = min(in.rows, first_row + in.block_rows);
  float* weight_part = in.weight_parts ? in.weight_parts + blockIdx.x * in.columns : nullptr;
  float* bias_part = in.bias_parts ? in.bias_parts + blockIdx.x * in.columns : nullptr;
  const float scale = 1.0f / static_cast<float>(in.columns);
  for (std::int64_t row = first_row; row < last_row; ++row) {
    const float* dy = in.dy + row * in.columns;
    const float* x = in.x + row * in.columns;
    const float mean = Kind == kind::layer ? in.mean[row] : 0.0f, rstd = in.rstd[row];
    float gradients = 0.0f, products = 0.0f;
    for (std::int64_t c = threadIdx.x; c < in.columns; c += blockDim.x) {
      const float d = dy[c], normal = (x[c] - mean) * rstd, gradient = d * in.weight[c];
      gradients += gradient;
      products += gradient * normal;
      if (weight_part)
        weight_part[c] = row == first_row ? d * normal : weight_part[c] + d * normal;
      if (bias_part)
        bias_part[c] = row == first_row ? d : bias_part[c] + d;
    }
    const float gradient_mean = Kind == kind::layer ? block_sum(gradients) * scale : 0.0f;
    const float product_mean = block_sum(products) * scale;
    for (std::int64_t c = threadIdx.x; c < in.columns; c += blockDim.x) {
      const float normal = (x[c] - mean) * rstd;
      const float v = (dy[c] * in.weight[c] - gradient_mean - normal * product_mean) * rstd;
      const std::int64_t i = row * in.columns + c;
      in.dx[i] = in.residual_gradient ? v + in.residual_gradient[i] : v;
    }
  }
}

template <kind Kind>
void forward(const operation& op, std::int64_t rows, const forward_arguments& in) {
  op.launch(norm_forward_kernel<Kind>, {dim3(static_cast<unsigned>(rows)), dim3(threads_for(in.columns))}, in);
}

/// Rows are cut into at most this many blocks.
constexpr std::int64_t blocks_max = 512;
constexpr std::int64_t block_rows_min = 4;

template <kind Kind>
void backward(operation& op, backward_arguments in, const tensor& dweight, const tensor& dbias) {
  in.block_rows = std::max(block_rows_min, ceiling(in.rows, blocks_max));
  const auto blocks = ceiling(in.rows, in.block_rows);
  tensor weight_parts, bias_parts;
  if (dweight)
    weight_parts = op.scratch(blocks * in.columns);
  if (dbias)
    bias_parts = op.scratch(blocks * in.columns);
  in.weight_parts = mutable_or_null(weight_parts);
  in.bias_parts = mutable_or_null(bias_parts);
  op.launch(norm_backward_kernel<Kind>, {dim3(static_cast<unsigned>(blocks)), dim3(threads_for(in.columns))}, in);
  if (dweight)
    add_column_parts(op, in.weight_parts, blocks, in.columns, dweight);
  if (dbias)
    add_column_parts(op, in.bias_parts, blocks, in.columns, dbias);
}

}  // namespace

void cuda_stream::layer_norm_forward(const tensor& x, const tensor& delta, const tensor& weight, const tensor& bias,
                                     double epsilon, const tensor& residual, const tensor& y, const tensor& mean,
                                     const tensor& rstd) {
  const auto columns = weight.count(), rows = x.count() / columns;
  assert(y.count() == x.count() && mean.count() == rows && rstd.count() == rows);
  assert(!delta || (delta.count() == x.count() && residual.count() == x.count()));
  operation op(*this, "layer_norm_forward", {x, delta, weight, bias}, {residual, y, mean, rstd});
  forward<kind::layer>(op, rows,
                       {columns, x.data<float>(), data_or_null(delta), weight.data<float>(), data_or_null(bias),
                        static_cast<float>(epsilon), mutable_or_null(residual), y.mutable_data<float>(),
                        mean.mutable_data<float>(), rstd.mutable_data<float>()});
}

void cuda_stream::rms_norm_forward(const tensor& x, const tensor& delta, const tensor& weight, double epsilon,
                                   const tensor& residual, const tensor& y, const tensor& rstd) {
  const auto columns = weight.count(), rows = x.count() / columns;
  assert(y.count() == x.count() && rstd.count() == rows);
  assert(!delta || (delta.count() == x.count() && residual.count() == x.count()));
  operation op(*this, "rms_norm_forward", {x, delta, weight}, {residual, y, rstd});
  forward<kind::rms>(op, rows,
                     {columns, x.data<float>(), data_or_null(delta), weight.data<float>(), nullptr,
                      static_cast<float>(epsilon), mutable_or_null(residual), y.mutable_data<float>(), nullptr,
                      rstd.mutable_data<float>()});
}

void cuda_stream::layer_norm_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& mean,
                                      const tensor& rstd, const tensor& residual_gradient, const tensor& dx,
                                      const tensor& dweight, const tensor& dbias) {
  const auto columns = weight.count(), rows = x.count() / columns;
  assert(dy.count() == x.count() && dx.count() == x.count());
  operation op(*this, "layer_norm_backward", {dy, x, weight, mean, rstd, residual_gradient}, {dx, dweight, dbias});
  backward<kind::layer>(op,
                        {rows, columns, 0, dy.data<float>(), x.data<float>(), weight.data<float>(), mean.data<float>(),
                         rstd.data<float>(), data_or_null(residual_gradient), dx.mutable_data<float>(), nullptr, nullptr},
                        dweight, dbias);
}

void cuda_stream::rms_norm_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& rstd,
                                    const tensor& residual_gradient, const tensor& dx, const tensor& dweight) {
  const auto columns = weight.count(), rows = x.count() / columns;
  assert(dy.count() == x.count() && dx.count() == x.count());
  operation op(*this, "rms_norm_backward", {dy, x, weight, rstd, residual_gradient}, {dx, dweight});
  backward<kind::rms>(op,
                      {rows, columns, 0, dy.data<float>(), x.data<float>(), weight.data<float>(), nullptr,
                       rstd.data<float>(), data_or_null(residual_gradient), dx.mutable_data<float>(), nullptr, nullptr},
                      dweight, {});
}

}  // namespace troupe::gpu
