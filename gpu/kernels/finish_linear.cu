#include "gpu/kernels/finish_linear.hpp"

#include "gpu/kernels/each.hpp"

namespace troupe::gpu {

namespace {

struct bias_body {
  std::int64_t columns;
  const float* bias;
  float* y;

  __device__ void operator()(std::int64_t row, std::int64_t column) const { y[row * columns + column] += bias[column]; }
};

template <class Function>
struct bias_and_activation_body {
  std::int64_t columns;
  const float* bias;
  float* pre;
  float* y;

  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    const std::int64_t i = row * columns + column;
    float x = pre[i];
    if (bias) {
      x += bias[column];
      pre[i] = x;
    }
    y[i] = Function::value(x);
  }
};

}  // namespace

void add_bias(const operation& op, std::int64_t rows, std::int64_t columns, const float* bias, float* y) {
  each_in_rows(op, rows, columns, bias_body{columns, bias, y});
}

void add_bias_and_activate(const operation& op, activation kind, std::int64_t rows, std::int64_t columns,
                           const float* bias, float* pre, float* y) {
  with_activation(kind, [&]<class Function>(Function) {
    each_in_rows(op, rows, columns, bias_and_activation_body<Function>{columns, bias, pre, y});
  });
}

}  // namespace troupe::gpu
