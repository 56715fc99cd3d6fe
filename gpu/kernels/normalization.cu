#include <algorithm>
#include <cassert>

#include "gpu/kernels/column_sums.hpp"

/// A block for each row; a thread sees the same columns in each pass over its row, so that what is written in place
/// disturbs nobody. Device memory sees each element once: what is read again comes from shared memory or the cache.

namespace troupe::gpu {

namespace {

/// Two kinds in one: layer normalisation takes the mean off, RMS normalisation does not.
enum class kind { layer, rms };

/// What a block may keep of its row, or of its columns' sums: more stays in device memory.
constexpr std::size_t kept_bytes_max = 48 << 10;

template <class T>
struct forward_arguments {
  std::int64_t columns;
  const T *x, *delta, *weight, *bias;
  float epsilon;
  T *residual, *y;
  float *mean, *rstd;
};

template <kind Kind, class T>
__global__ void norm_forward_kernel(forward_arguments<T> in, bool is_kept) {
  constexpr int N = pack_size<T>;
  const std::int64_t row = blockIdx.x, first = row * in.columns;
  T* const kept = is_kept ? shared_memory<T>() : nullptr;
  const T* const normalised = is_kept ? kept : (in.delta ? in.residual : in.x) + first;
  const float scale = 1.0f / static_cast<float>(in.columns);
  const bool aligned = are_aligned(in.x, in.delta, in.weight, in.bias, in.residual, in.y) && in.columns % N == 0;
  float sum = 0.0f;
  each_own_pack<N>(in.columns, aligned, [&](std::int64_t c, part of) {
    pack<T, N> x = load<N>(in.x + first + c, of);
    if (in.delta) {
      const pack<T, N> delta = load<N>(in.delta + first + c, of);
#pragma unroll
      for (int n = 0; n < N; ++n)
        x[n] = rounded<T>(float(x[n]) + float(delta[n]));
      store<N>(in.residual + first + c, x, of);
    }
    if (is_kept)
      store<N>(kept + c, x, of);
#pragma unroll
    for (int n = 0; n < N; ++n)
      sum += float(x[n]);
  });
  const float mean = Kind == kind::layer ? block_sum(sum) * scale : 0.0f;
  float squares = 0.0f;
  each_own_pack<N>(in.columns, aligned, [&](std::int64_t c, part of) {
    const pack<T, N> x = load<N>(normalised + c, of);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const float centred = n < of.count ? float(x[n]) - mean : 0.0f;
      squares += centred * centred;
    }
  });
  const float rstd = 1.0f / sqrtf(block_sum(squares) * scale + in.epsilon);
  each_own_pack<N>(in.columns, aligned, [&](std::int64_t c, part of) {
    const pack<T, N> x = load<N>(normalised + c, of), weight = load<N>(in.weight + c, of);
    const pack<T, N> bias = in.bias ? load<N>(in.bias + c, of) : pack<T, N>{};
    pack<T, N> y;
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const float v = (float(x[n]) - mean) * rstd * float(weight[n]);
      y[n] = rounded<T>(in.bias ? v + float(bias[n]) : v);
    }
    store<N>(in.y + first + c, y, of);
  });
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

/// Packs are as float has them, so that sums in shared memory are read by one access, too.
template <kind Kind, class T>
__global__ void norm_backward_kernel(backward_arguments<T> in, bool is_kept) {
  constexpr int N = pack_size<float>;
  const std::int64_t first_row = blockIdx.x * in.block_rows, last_row = min(in.rows, first_row + in.block_rows);
  float* const weight_part = in.weight_parts ? in.weight_parts + blockIdx.x * in.columns : nullptr;
  float* const bias_part = in.bias_parts ? in.bias_parts + blockIdx.x * in.columns : nullptr;
  const std::int64_t kept_columns = ceiling(in.columns, N) * N;
  float* const weight_sums = is_kept ? shared_memory<float>() : weight_part;
  float* const bias_sums = is_kept ? shared_memory<float>() + (weight_part ? kept_columns : 0) : bias_part;
  const float scale = 1.0f / static_cast<float>(in.columns);
  const bool aligned = are_aligned(in.dy, in.x, in.weight, in.residual_gradient, in.dx) &&
                       in.columns % pack_size<T> == 0;
  for (std::int64_t row = first_row; row < last_row; ++row) {
    const std::int64_t first = row * in.columns;
    const float mean = Kind == kind::layer ? in.mean[row] : 0.0f, rstd = in.rstd[row];
    float gradients = 0.0f, products = 0.0f;
    each_own_pack<N>(in.columns, aligned, [&](std::int64_t c, part of) {
      const pack<T, N> dy = load<N>(in.dy + first + c, of), x = load<N>(in.x + first + c, of);
      const pack<T, N> weight = load<N>(in.weight + c, of);
      pack<float, N> weight_terms, bias_terms;
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const float d = float(dy[n]), normal = (float(x[n]) - mean) * rstd, gradient = d * float(weight[n]);
        gradients += gradient;
        products += gradient * normal;
        weight_terms[n] = d * normal;
        bias_terms[n] = d;
      }
      const auto sum_up = [&](float* sums, pack<float, N>& terms) {
        if (row == first_row)
          store<N>(sums + c, terms, of);
        else
          add_to(sums + c, terms, of);
      };
      if (weight_part)
        sum_up(weight_sums, weight_terms);
      if (bias_part)
        sum_up(bias_sums, bias_terms);
    });
    const float gradient_mean = Kind == kind::layer ? block_sum(gradients) * scale : 0.0f;
    const float product_mean = block_sum(products) * scale;
    each_own_pack<N>(in.columns, aligned, [&](std::int64_t c, part of) {
      const pack<T, N> dy = load<N>(in.dy + first + c, of), x = load<N>(in.x + first + c, of);
      const pack<T, N> weight = load<N>(in.weight + c, of);
      const T* const beside = in.residual_gradient;
      const pack<T, N> residual = beside ? load<N>(beside + first + c, of) : pack<T, N>{};
      pack<T, N> dx;
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const float normal = (float(x[n]) - mean) * rstd;
        const float v = (float(dy[n]) * float(weight[n]) - gradient_mean - normal * product_mean) * rstd;
        dx[n] = rounded<T>(beside ? v + float(residual[n]) : v);
      }
      store<N>(in.dx + first + c, dx, of);
    });
  }
  if (is_kept)
    each_own_pack<N>(in.columns, aligned, [&](std::int64_t c, part of) {
      if (weight_part)
        store<N>(weight_part + c, load<N>(weight_sums + c, of), of);
      if (bias_part)
        store<N>(bias_part + c, load<N>(bias_sums + c, of), of);
    });
}

/// Arguments as of the stream's methods, some of them absent.
template <kind Kind>
void forward(const operation& op, const tensor& x, const tensor& delta, const tensor& weight, const tensor& bias,
             double epsilon, const tensor& residual, const tensor& y, const tensor& mean, const tensor& rstd) {
  const auto columns = weight.count(), rows = x.count() / columns;
  assert(y.count() == x.count() && rstd.count() == rows && (!mean || mean.count() == rows));
  assert(!delta || (delta.count() == x.count() && residual.count() == x.count()));
  with_element(op, x, [&]<class T>(T) {
    const auto row_bytes = static_cast<std::size_t>(columns) * sizeof(T);
    const bool is_kept = row_bytes <= kept_bytes_max;
    op.launch(norm_forward_kernel<Kind, T>,
              {dim3(static_cast<unsigned>(rows)), dim3(threads_of_row<pack_size<T>>(columns)), is_kept ? row_bytes : 0},
              forward_arguments<T>{columns, x.data<T>(), data_or_null<T>(delta), weight.data<T>(), data_or_null<T>(bias),
                                   static_cast<float>(epsilon), mutable_or_null<T>(residual), y.mutable_data<T>(),
                                   mutable_or_null(mean), rstd.mutable_data<float>()},
              is_kept);
  });
}

/// Rows are cut into at most this many blocks.
constexpr std::int64_t blocks_max = 1024;
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
  const auto sums_bytes = static_cast<std::size_t>((dweight ? 1 : 0) + (dbias ? 1 : 0)) *
                          static_cast<std::size_t>(ceiling(columns, pack_size<float>)) * sizeof(uint4);
  const bool is_kept = sums_bytes <= kept_bytes_max;
  with_element(op, x, [&]<class T>(T) {
    op.launch(norm_backward_kernel<Kind, T>,
              {dim3(static_cast<unsigned>(blocks)), dim3(threads_of_row<pack_size<float>>(columns)),
               is_kept ? sums_bytes : 0},
              backward_arguments<T>{rows, columns, block_rows, dy.data<T>(), x.data<T>(), weight.data<T>(),
                                    data_or_null(mean), rstd.data<float>(), data_or_null<T>(residual_gradient),
                                    dx.mutable_data<T>(), mutable_or_null(weight_parts), mutable_or_null(bias_parts)},
              is_kept);
  });
  if (dweight)
    add_columns(op, weight_parts.data<float>(), blocks, columns, dweight);
  if (dbias)
    add_columns(op, bias_parts.data<float>(), blocks, columns, dbias);
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
