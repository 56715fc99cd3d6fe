#include <cassert>
#include <stdexcept>
#include <type_traits>

#include "gpu/kernels/each.hpp"

namespace troupe::gpu {

namespace {

template <class From, class To>
struct cast_body {
  const From* in;
  To* out;

  __device__ void operator()(std::int64_t i) const {
    if constexpr (std::is_same_v<From, double>)
      out[i] = static_cast<To>(in[i]);
    else
      out[i] = static_cast<To>(static_cast<float>(in[i]));
  }
};

struct scaled_add_body {
  float alpha, beta;
  const float *a, *b;
  float* out;

  __device__ void operator()(std::int64_t i) const { out[i] = b ? alpha * a[i] + beta * b[i] : alpha * a[i]; }
};

struct scale_to_unit_body {
  const double* square_sum;
  double least;
  const float* a;
  float* out;

  __device__ void operator()(std::int64_t i) const {
    out[i] = a[i] * static_cast<float>(1.0 / max(sqrt(*square_sum), least));
  }
};

template <class Function>
struct activation_body {
  const float* x;
  float* y;

  __device__ void operator()(std::int64_t i) const { y[i] = Function::value(x[i]); }
};

template <class Function>
struct activation_slope_body {
  const float *x, *dy;
  float* dx;

  __device__ void operator()(std::int64_t i) const { dx[i] = dy[i] * Function::slope(x[i]); }
};

struct swiglu_body {
  std::int64_t width;
  const float* x;
  float* y;

  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    const float* gate = x + row * 2 * width + column;
    y[row * width + column] = silu::value(gate[0]) * gate[width];
  }
};

struct swiglu_slope_body {
  std::int64_t width;
  const float *x, *dy;
  float* dx;

  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    const std::int64_t at = row * 2 * width + column;
    const float gate = x[at], up = x[at + width], d = dy[row * width + column];
    dx[at] = d * up * silu::slope(gate);
    dx[at + width] = d * silu::value(gate);
  }
};

/// Four elements, which draw from one block of random words.
struct dropout_body {
  dropout_factors factors;
  std::int64_t count;
  const float* x;
  float* y;

  __device__ void operator()(std::int64_t four) const {
    const philox_block words = random_block(factors.key, static_cast<std::uint64_t>(four));
#pragma unroll
    for (int n = 0; n < 4; ++n)
      if (const std::int64_t i = four * 4 + n; i < count)
        y[i] = x[i] * factors.of_word(words[n]);
  }
};

/// Calls `use` with a null pointer to the element type.
template <class Use>
void with_float_type(dtype type, Use use) {
  switch (type) {
    case dtype::float32:
      return use(static_cast<float*>(nullptr));
    case dtype::float64:
      return use(static_cast<double*>(nullptr));
    case dtype::bfloat16:
      return use(static_cast<bfloat16*>(nullptr));
    case dtype::float16:
      return use(static_cast<float16*>(nullptr));
    default:
      throw std::invalid_argument("cast: " + std::string(to_string(type)) + " is not a floating-point type");
  }
}

}  // namespace

void cuda_stream::cast(const tensor& in, const tensor& out) {
  assert(in.count() == out.count());
  operation op(*this, "cast", {in}, {out});
  with_float_type(in.type(), [&]<class From>(From*) {
    with_float_type(out.type(), [&]<class To>(To*) {
      each_element(op, in.count(), cast_body<From, To>{in.data<From>(), out.mutable_data<To>()});
    });
  });
}

void cuda_stream::scaled_add(double alpha, const tensor& a, double beta, const tensor& b, const tensor& out) {
  assert(a.count() == out.count() && (!b || b.count() == a.count()));
  operation op(*this, "scaled_add", {a, b}, {out});
  each_element(op, a.count(),
               scaled_add_body{static_cast<float>(alpha), static_cast<float>(beta), a.data<float>(), data_or_null(b),
                               out.mutable_data<float>()});
}

void cuda_stream::scale_to_unit(const tensor& a, const tensor& square_sum, double least, const tensor& out) {
  assert(a.count() == out.count() && square_sum.count() == 1);
  operation op(*this, "scale_to_unit", {a, square_sum}, {out});
  each_element(op, a.count(),
               scale_to_unit_body{square_sum.data<double>(), least, a.data<float>(), out.mutable_data<float>()});
}

void cuda_stream::activation_forward(activation kind, const tensor& x, const tensor& y) {
  assert(x.count() == y.count());
  operation op(*this, "activation_forward", {x}, {y});
  with_activation(kind, [&]<class Function>(Function) {
    each_element(op, x.count(), activation_body<Function>{x.data<float>(), y.mutable_data<float>()});
  });
}

void cuda_stream::activation_backward(activation kind, const tensor& x, const tensor& dy, const tensor& dx) {
  assert(x.count() == dy.count() && x.count() == dx.count());
  operation op(*this, "activation_backward", {x, dy}, {dx});
  with_activation(kind, [&]<class Function>(Function) {
    each_element(op, x.count(),
                 activation_slope_body<Function>{x.data<float>(), dy.data<float>(), dx.mutable_data<float>()});
  });
}

void cuda_stream::swiglu_forward(const tensor& x, const tensor& y) {
  const auto width = y.shape().back(), rows = y.count() / width;
  assert(x.count() == 2 * y.count());
  operation op(*this, "swiglu_forward", {x}, {y});
  each_in_rows(op, rows, width, swiglu_body{width, x.data<float>(), y.mutable_data<float>()});
}

void cuda_stream::swiglu_backward(const tensor& x, const tensor& dy, const tensor& dx) {
  const auto width = dy.shape().back(), rows = dy.count() / width;
  assert(x.count() == 2 * dy.count() && dx.count() == x.count());
  operation op(*this, "swiglu_backward", {x, dy}, {dx});
  each_in_rows(op, rows, width, swiglu_slope_body{width, x.data<float>(), dy.data<float>(), dx.mutable_data<float>()});
}

void cuda_stream::dropout(const dropout_options& options, const tensor& x, const tensor& y) {
  assert(x.count() == y.count());
  operation op(*this, "dropout", {x}, {y});
  each_element(op, ceiling(x.count(), 4),
               dropout_body{dropout_factors(options), x.count(), x.data<float>(), y.mutable_data<float>()});
}

}  // namespace troupe::gpu
