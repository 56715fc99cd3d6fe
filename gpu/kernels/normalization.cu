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

template <class T>
struct forward_arguments {
  std::int64_t columns;
  const T *x, *delta, *weight, *bias;
  float epsilon;
  T *residual, *y;
  float *mean, *rstd;
};

template <kind Kind, class T>
__global__ void norm_forward_kernel(forward_arguments<T> in) {
  const std::int64_t row = blockIdx.x, first = row * in.columns;
  const T* x = in.x + first;
  const float scale = 1.0f / static_cast<float>(in.columns);
  float sum = 0.0f;
  for (std::int64_t c = threadIdx.x; c < in.columns; c += blockDim.x) {
    if (in.delta)
      in.residual[first + c] = T(float(x[c]) + float(in.delta[first + c]));
    sum += float(in.delta ? in.residual[first + c] : x[c]);
  }
  if (in.delta)
    x = in.residual + first;
  const float mean = Kind == kind::layer ? block_sum(sum) * scale : 0.0f;
  float squares = 0.0f;
  for (std::int64_t c = threadIdx.x; c < in.columns; c += blockDim.x) {
    const float centred = float(x[c]) - mean;
    squares += centred * centred;
  }
  const float rstd = 1.0f / sqrtf(block_sum(squares) * scale + in.epsilon);
  for (std::int64_t c = threadIdx.x; c < in.columns; c += blockDim.x) {
    const float v = (float(x[c]) - mean) * rstd * float(in.weight[c]);
    in.y[first + c] = T(in.bias ? v + float(in.bias[c]) : v);
  }
  if (threadIdx.x == 0) {
    if (Kind == kind::layer)
      in.mean[row] = mean;
    in.rstd[row] = rstd;
  }
}

template <class T>
struct backward_arguments {
  std::int64_t rows, columns, block_rows;
  const T *dy, *x, *weight;
  const float *mean, *rstd;
  const T* residual_gradient;
  T* dx;
  float *weight_parts, *bias_parts;  ///< [blocks, columns]: sums over the rows of a block; may be null
};

template <kind Kind, class T>
__global__ void norm_backward_kernel(backward_arguments<T> in) {
  const std::int64_t first_row = blockIdx.x * in.block_rows, last_row = min(in.rows, first_row + in.block_rows);
  float* weight_part = in.weight_parts ? in.weight_parts + blockIdx.x * in.columns : nullptr;
  float* bias_part = in.bias_parts ? in.bias_parts + blockIdx.x * in.columns : nullptr;
  const float scale = 1.0f / static_cast<float>(in.columns);
  for (std::int64_t row = first_row; row < last_row; ++row) {
    const T* dy = in.dy + row * in.columns;
    const T* x = in.x + row * in.columns;
    const float mean = Kind == kind::layer ? in.mean[row] : 0.0f, rstd = in.rstd[row];
    float gradients = 0.0f, products = 0.0f;
    for (std::int64_t c = threadIdx.x; c < in.columns; c += blockDim.x) {
      const float d = float(dy[c]), normal = (float(x[c]) - mean) * rstd, gradient = d * float(in.weight[c]);
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
      const float normal = (float(x[c]) - mean) * rstd;
      const float v = (float(dy[c]) * float(in.weight[c]) - gradient_mean - normal * product_mean) * rstd;
      const std::int64_t i = row * in.columns + c;
      in.dx[i] = T(in.residual_gradient ? v + float(in.residual_gradient[i]) : v);
    }
  }
}

/// Arguments as of the stream's methods, some of them absent.
template <kind Kind>
void forward(const operation& op, const tensor& x, const tensor& delta, const tensor& weight, const tensor& bias,
             double epsilon, const tensor& residual, const tensor& y, const tensor& mean, const tensor& rstd) {
  const auto columns = weight.count(), rows = x.count() / columns;
  assert(y.count() == x.count() && rstd.count() == rows && (!mean || mean.count() == rows));
  assert(!delta || (delta.count() == x.count() && residual.count() == x.count()));
  with_element(op, x, [&]<class T>(T) {
    op.launch(norm_forward_kernel<Kind, T>, {dim3(static_cast<unsigned>(rows)), dim3(threads_for(columns))},
              forward_arguments<T>{columns, x.data<T>(), data_or_null<T>(delta), weight.data<T>(), data_or_null<T>(bias),
                                   static_cast<float>(epsilon), mutable_or_null<T>(residual), y.mutable_data<T>(),
                                   mutable_or_null(mean), rstd.mutable_data<float>()});
  });
}

/// Rows are cut into at most this many blocks.
constexpr std::int64_t blocks_max = 512;
constexpr std::int64_t block_rows_min = 4;

template <kind Kind>
void backward(operation& op, const tensor& dy, const tensor& x, const tensor& weight, const tensor& mean,
              const tensor& rstd, const tensor& residual_gradient, const tensor& dx, const tensor& dweight,
              const tensor& dbias) {
  const auto columns = weight.count(), rows = x.count() / columns;
  assert(dy.count() == x.count() && dx.count() == x.count());
  const auto block_rows = std::max(block_rows_min, ceiling(rows, blocks_max)), blocks = ceiling(rows, block_rows);
  tensor weight_parts, bias_parts;
  if (dweight)
    weight_parts = op.scratch(blocks * columns);
  if (dbias)
    bias_parts = op.scratch(blocks * columns);
  with_element(op, x, [&]<class T>(T) {
    op.launch(norm_backward_kernel<Kind, T>, {dim3(static_cast<unsigned>(blocks)), dim3(threads_for(columns))},
              backward_arguments<T>{rows, columns, block_rows, dy.data<T>(), x.data<T>(), weight.data<T>(),
                                    data_or_null(mean), rstd.data<float>(), data_or_null<T>(residual_gradient),
                                    dx.mutable_data<T>(), mutable_or_null(weight_parts), mutable_or_null(bias_parts)});
  });
  if (dweight)
    add_column_parts(op, weight_parts.data<float>(), blocks, columns, dweight);
  if (dbias)
    add_column_parts(op, bias_parts.data<float>(), blocks, columns, dbias);
}

}  // namespace

void cuda_stream::layer_norm_forward(const tensor& x, const tensor& delta, const tensor& weight, const tensor& bias,
                                     double epsilon, const tensor& residual, const tensor& y, const tensor& mean,
                                     const tensor& rstd) {
  operation op(*this, "layer_norm_forward", {x, delta, weight, bias}, {residual, y, mean, rstd});
  forward<kind::layer>(op, x, delta, weight, bias, epsilon, residual, y, mean, rstd);
}

void cuda_stream::rms_norm_forward(const tensor& x, const tensor& delta, const tensor& weight, double epsilon,
                                   const tensor& residual, const tensor& y, const tensor& rstd) {
  operation op(*this, "rms_norm_forward", {x, delta, weight}, {residual, y, rstd});
  forward<kind::rms>(op, x, delta, weight, {}, epsilon, residual, y, {}, rstd);
}

void cuda_stream::layer_norm_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& mean,
                                      const tensor& rstd, const tensor& residual_gradient, const tensor& dx,
                                      const tensor& dweight, const tensor& dbias) {
  operation op(*this, "layer_norm_backward", {dy, x, weight, mean, rstd, residual_gradient}, {dx, dweight, dbias});
  backward<kind::layer>(op, dy, x, weight, mean, rstd, residual_gradient, dx, dweight, dbias);
}

void cuda_stream::rms_norm_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& rstd,
                                    const tensor& residual_gradient, const tensor& dx, const tensor& dweight) {
  operation op(*this, "rms_norm_backward", {dy, x, weight, rstd, residual_gradient}, {dx, dweight});
  backward<kind::rms>(op, dy, x, weight, {}, rstd, residual_gradient, dx, dweight, {});
}

}  // namespace troupe::gpu
