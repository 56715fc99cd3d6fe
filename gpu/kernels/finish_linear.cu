#include "gpu/kernels/finish_linear.hpp"

#include "gpu/kernels/each.hpp"

namespace troupe::gpu {

namespace {

struct bias_body {
  template <class T>
  __device__ void operator()(T& y, T product, T bias) const {
    y = rounded<T>(float(product) + float(bias));
  }
};

template <class Function>
struct bias_and_activation_body {
  template <class T>
  __device__ void operator()(T& pre, T& y, T product, T bias) const {
    pre = rounded<T>(float(product) + float(bias));
    y = rounded<T>(Function::value(float(pre)));
  }
};

}  // namespace

void add_bias(const operation& op, std::int64_t rows, const tensor& bias, const tensor& y) {
  const auto columns = y.count() / rows;
  with_element(op, y, [&]<class T>(T) {
    T* const out = y.mutable_data<T>();
    each_in_rows(op, rows, columns, bias_body{}, rows_of{out, columns}, rows_of<const T>{out, columns},
                 rows_of{bias.data<T>()});
  });
}

void add_bias_and_activate(const operation& op, activation kind, std::int64_t rows, const tensor& bias,
                           const tensor& pre, const tensor& y) {
  const auto columns = y.count() / rows;
  with_element(op, y, [&]<class T>(T) {
    with_activation(kind, [&]<class Function>(Function) {
      T *const in = pre.mutable_data<T>(), *const out = y.mutable_data<T>();
      if (bias)
        each_in_rows(op, rows, columns, bias_and_activation_body<Function>{}, rows_of{in, columns},
                     rows_of{out, columns}, rows_of<const T>{in, columns}, rows_of{bias.data<T>()});
      else
        each_element(op, y.count(), activation_body<Function>{}, out, pre.data<T>());
    });
  });
}

}  // namespace troupe::gpu
