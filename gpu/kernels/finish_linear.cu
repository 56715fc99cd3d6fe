#include "gpu/kernels/finish_linear.hpp"

#include "gpu/kernels/each.hpp"

namespace troupe::gpu {

namespace {

template <class T>
struct bias_body {
  std::int64_t columns;
  const T* bias;
  T* y;

  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    const std::int64_t i = row * columns + column;
    y[i] = T(float(y[i]) + float(bias[column]));
  }
};

template <class T, class Function>
struct bias_and_activation_body {
  std::int64_t columns;
  const T* bias;
  T *pre, *y;

  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    const std::int64_t i = row * columns + column;
    if (bias)
      pre[i] = T(float(pre[i]) + float(bias[column]));
    y[i] = T(Function::value(float(pre[i])));
  }
};

}  // namespace

void add_bias(const operation& op, std::int64_t rows, const tensor& bias, const tensor& y) {
  const auto columns = y.count() / rows;
  with_element(op, y, [&]<class T>(T) {
    each_in_rows(op, rows, columns, bias_body<T>{columns, bias.data<T>(), y.mutable_data<T>()});
  });
}

void add_bias_and_activate(const operation& op, activation kind, std::int64_t rows, const tensor& bias,
                           const tensor& pre, const tensor& y) {
  const auto columns = y.count() / rows;
  with_element(op, y, [&]<class T>(T) {
    with_activation(kind, [&]<class Function>(Function) {
      each_in_rows(op, rows, columns,
                   bias_and_activation_body<T, Function>{columns, data_or_null<T>(bias), pre.mutable_data<T>(),
                                                         y.mutable_data<T>()});
    });
  });
}

}  // namespace troupe::gpu
