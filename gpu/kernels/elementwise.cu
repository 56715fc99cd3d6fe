#include <cassert>

#include "gpu/kernels/each.hpp"

namespace troupe::gpu {

namespace {

template <class T>
struct scaled_add_body {
  float alpha, beta;
  const T *a, *b;
  T* out;

  __device__ void operator()(std::int64_t i) const {
    const float scaled = alpha * float(a[i]);
    out[i] = T(b ? scaled + beta * float(b[i]) : scaled);
  }
};

template <class T>
struct scale_to_unit_body {
  const double* square_sum;
  double least;
  const T* a;
  T* out;

  __device__ void operator()(std::int64_t i) const {
    out[i] = T(float(a[i]) * static_cast<float>(1.0 / max(sqrt(*square_sum), least)));
  }
};

template <class T, class Function>
struct activation_body {
  const T* x;
  T* y;

  __device__ void operator()(std::int64_t i) const { y[i] = T(Function::value(float(x[i]))); }
};

template <class T, class Function>
struct activation_slope_body {
  const T *x, *dy;
  T* dx;

  __device__ void operator()(std::int64_t i) const { dx[i] = T(float(dy[i]) * Function::slope(float(x[i]))); }
};

template <class T>
struct swiglu_body {
  std::int64_t width;
  const T* x;
  T* y;

  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    const T* gate = x + row * 2 * width + column;
    y[row * width + column] = T(silu::value(float(gate[0])) * float(gate[width]));
  }
};

template <class T>
struct swiglu_slope_body {
  std::int64_t width;
  const T *x, *dy;
  T* dx;

  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    const std::int64_t at = row * 2 * width + column;
    const float gate = float(x[at]), up = float(x[at + width]), d = float(dy[row * width + column]);
    dx[at] = T(d * up * silu::slope(gate));
    dx[at + width] = T(d * silu::value(gate));
  }
};

/// Four elements, which draw from one block of random words.
template <class T>
struct dropout_body {
  dropout_factors factors;
  std::int64_t count;
  const T* x;
  T* y;

  __device__ void operator()(std::int64_t four) const {
    const philox_block words = random_block(factors.key, static_cast<std::uint64_t>(four));
#pragma unroll
    for (int n = 0; n < 4; ++n)
      if (const std::int64_t i = four * 4 + n; i < count)
        y[i] = T(float(x[i]) * factors.of_word(words[n]));
  }
};

}  // namespace

void cuda_stream::scaled_add(double alpha, const tensor& a, double beta, const tensor& b, const tensor& out) {
  assert(a.count() == out.count() && (!b || b.count() == a.count()));
  operation op(*this, "scaled_add", {a, b}, {out});
  with_element(op, a, [&]<class T>(T) {
    each_element(op, a.count(),
                 scaled_add_body<T>{static_cast<float>(alpha), static_cast<float>(beta), a.data<T>(),
                                    data_or_null<T>(b), out.mutable_data<T>()});
  });
}

void cuda_stream::scale_to_unit(const tensor& a, const tensor& square_sum, double least, const tensor& out) {
  assert(a.count() == out.count() && square_sum.count() == 1);
  operation op(*this, "scale_to_unit", {a, square_sum}, {out});
  with_element(op, a, [&]<class T>(T) {
    each_element(op, a.count(),
                 scale_to_unit_body<T>{square_sum.data<double>(), least, a.data<T>(), out.mutable_data<T>()});
  });
}

void cuda_stream::activation_forward(activation kind, const tensor& x, const tensor& y) {
  assert(x.count() == y.count());
  operation op(*this, "activation_forward", {x}, {y});
  with_element(op, x, [&]<class T>(T) {
    with_activation(kind, [&]<class Function>(Function) {
      each_element(op, x.count(), activation_body<T, Function>{x.data<T>(), y.mutable_data<T>()});
    });
  });
}

void cuda_stream::activation_backward(activation kind, const tensor& x, const tensor& dy, const tensor& dx) {
  assert(x.count() == dy.count() && x.count() == dx.count());
  operation op(*this, "activation_backward", {x, dy}, {dx});
  with_element(op, x, [&]<class T>(T) {
    with_activation(kind, [&]<class Function>(Function) {
      each_element(op, x.count(),
                   activation_slope_body<T, Function>{x.data<T>(), dy.data<T>(), dx.mutable_data<T>()});
    });
  });
}

void cuda_stream::swiglu_forward(const tensor& x, const tensor& y) {
  const auto width = y.shape().back(), rows = y.count() / width;
  assert(x.count() == 2 * y.count());
  operation op(*this, "swiglu_forward", {x}, {y});
  with_element(op, x, [&]<class T>(T) {
    each_in_rows(op, rows, width, swiglu_body<T>{width, x.data<T>(), y.mutable_data<T>()});
  });
}

void cuda_stream::swiglu_backward(const tensor& x, const tensor& dy, const tensor& dx) {
  const auto width = dy.shape().back(), rows = dy.count() / width;
  assert(x.count() == 2 * dy.count() && dx.count() == x.count());
  operation op(*this, "swiglu_backward", {x, dy}, {dx});
  with_element(op, x, [&]<class T>(T) {
    each_in_rows(op, rows, width, swiglu_slope_body<T>{width, x.data<T>(), dy.data<T>(), dx.mutable_data<T>()});
  });
}

void cuda_stream::dropout(const dropout_options& options, const tensor& x, const tensor& y) {
  assert(x.count() == y.count());
  operation op(*this, "dropout", {x}, {y});
  with_element(op, x, [&]<class T>(T) {
    each_element(op, ceiling(x.count(), 4),
                 dropout_body<T>{dropout_factors(options), x.count(), x.data<T>(), y.mutable_data<T>()});
  });
}

}  // namespace troupe::gpu
