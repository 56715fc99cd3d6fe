#include <cassert>

#include "gpu/kernels/each.hpp"

namespace troupe::gpu {

namespace {

struct scale_body {
  float alpha;

  template <class T>
  __device__ void operator()(T& out, T a) const {
    out = rounded<T>(alpha * float(a));
  }
};

struct scaled_add_body {
  float alpha;
  multiplier beta;

  template <class T>
  __device__ void operator()(T& out, T a, T b) const {
    out = rounded<T>(alpha * float(a) + beta.value() * float(b));
  }
};

struct scale_to_unit_body {
  const double* square_sum;
  double least;

  template <class T>
  __device__ void operator()(T& out, T a) const {
    out = rounded<T>(float(a) * static_cast<float>(1.0 / max(sqrt(*square_sum), least)));
  }
};

template <class Function>
struct activation_slope_body {
  template <class T>
  __device__ void operator()(T& dx, T x, T dy) const {
    dx = rounded<T>(float(dy) * Function::slope(float(x)));
  }
};

struct swiglu_body {
  template <class T>
  __device__ void operator()(T& y, T gate, T up) const {
    y = rounded<T>(silu::value(float(gate)) * float(up));
  }
};

struct swiglu_slope_body {
  template <class T>
  __device__ void operator()(T& dgate, T& dup, T gate, T up, T dy) const {
    dgate = rounded<T>(float(dy) * float(up) * silu::slope(float(gate)));
    dup = rounded<T>(float(dy) * silu::value(float(gate)));
  }
};

struct dropout_body {
  dropout_factors factors;

  template <class T>
  __device__ void operator()(T& y, T x, std::uint32_t word) const {
    y = rounded<T>(float(x) * factors.of_word(word));
  }
};

}  // namespace

void cuda_stream::scaled_add(double alpha, const tensor& a, const scalar& beta, const tensor& b, const tensor& out) {
  assert(a.count() == out.count() && (!b || b.count() == a.count()));
  operation op(*this, "scaled_add", {a, b}, {out});
  with_element(op, a, [&]<class T>(T) {
    if (b)
      each_element(op, a.count(), scaled_add_body{static_cast<float>(alpha), multiplier::of(op, beta)},
                   out.mutable_data<T>(), a.data<T>(), b.data<T>());
    else
      each_element(op, a.count(), scale_body{static_cast<float>(alpha)}, out.mutable_data<T>(), a.data<T>());
  });
}

void cuda_stream::scale_to_unit(const tensor& a, const tensor& square_sum, double least, const tensor& out) {
  assert(a.count() == out.count() && square_sum.count() == 1);
  operation op(*this, "scale_to_unit", {a, square_sum}, {out});
  with_element(op, a, [&]<class T>(T) {
    each_element(op, a.count(), scale_to_unit_body{square_sum.data<double>(), least}, out.mutable_data<T>(),
                 a.data<T>());
  });
}

void cuda_stream::activation_forward(activation kind, const tensor& x, const tensor& y) {
  assert(x.count() == y.count());
  operation op(*this, "activation_forward", {x}, {y});
  with_element(op, x, [&]<class T>(T) {
    with_activation(kind, [&]<class Function>(Function) {
      each_element(op, x.count(), activation_body<Function>{}, y.mutable_data<T>(), x.data<T>());
    });
  });
}

void cuda_stream::activation_backward(activation kind, const tensor& x, const tensor& dy, const tensor& dx) {
  assert(x.count() == dy.count() && x.count() == dx.count());
  operation op(*this, "activation_backward", {x, dy}, {dx});
  with_element(op, x, [&]<class T>(T) {
    with_activation(kind, [&]<class Function>(Function) {
      each_element(op, x.count(), activation_slope_body<Function>{}, dx.mutable_data<T>(), x.data<T>(), dy.data<T>());
    });
  });
}

void cuda_stream::swiglu_forward(const tensor& x, const tensor& y) {
  const auto width = y.shape().back(), rows = y.count() / width;
  assert(x.count() == 2 * y.count());
  operation op(*this, "swiglu_forward", {x}, {y});
  with_element(op, x, [&]<class T>(T) {
    const T* const gate = x.data<T>();
    each_in_rows(op, rows, width, swiglu_body{}, rows_of{y.mutable_data<T>(), width}, rows_of{gate, 2 * width},
                 rows_of{gate + width, 2 * width});
  });
}

void cuda_stream::swiglu_backward(const tensor& x, const tensor& dy, const tensor& dx) {
  const auto width = dy.shape().back(), rows = dy.count() / width;
  assert(x.count() == 2 * dy.count() && dx.count() == x.count());
  operation op(*this, "swiglu_backward", {x, dy}, {dx});
  with_element(op, x, [&]<class T>(T) {
    const T* const gate = x.data<T>();
    T* const dgate = dx.mutable_data<T>();
    each_in_rows(op, rows, width, swiglu_slope_body{}, rows_of{dgate, 2 * width}, rows_of{dgate + width, 2 * width},
                 rows_of{gate, 2 * width}, rows_of{gate + width, 2 * width}, rows_of{dy.data<T>(), width});
  });
}

void cuda_stream::dropout(const dropout_options& options, const tensor& x, const tensor& y) {
  assert(x.count() == y.count());
  operation op(*this, "dropout", {x}, {y});
  with_element(op, x, [&]<class T>(T) {
    each_in_rows(op, 1, x.count(), dropout_body{dropout_factors(options)}, rows_of{y.mutable_data<T>()},
                 rows_of{x.data<T>()}, random_words{options.key});
  });
}

}  // namespace troupe::gpu
