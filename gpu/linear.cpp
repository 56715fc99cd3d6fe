#include <cassert>

#include "gpu/cuda_stream.hpp"
#include "gpu/kernels/finish_linear.hpp"
#include "gpu/operation.hpp"

namespace troupe::gpu {

namespace {

/// y[rows, out] = x[rows, in] * weight[out, in]^T.
matrix_product forward_product(const tensor& x, const tensor& weight, float* y) {
  const auto out = weight.shape()[0], in = weight.shape()[1];
  return {.rows = x.count() / in, .columns = out, .depth = in, .a = x.data<float>(), .b = weight.data<float>(), .c = y,
          .transpose_b = true};
}

}  // namespace

void cuda_stream::matmul(const tensor& a, const tensor& b, const tensor& c, const matmul_options& options) {
  const auto rows = c.shape()[0], columns = c.shape()[1], depth = a.shape()[options.transpose_a ? 0 : 1];
  assert(a.count() == rows * depth && b.count() == depth * columns);
  operation op(*this, "matmul", {a, b}, {c});
  op.products().enqueue({.rows = rows, .columns = columns, .depth = depth, .a = a.data<float>(), .b = b.data<float>(),
                         .c = c.mutable_data<float>(), .transpose_a = options.transpose_a,
                         .transpose_b = options.transpose_b, .accumulate = options.accumulate,
                         .alpha = static_cast<float>(options.alpha)},
                        op.handle());
}

void cuda_stream::linear_forward(const tensor& x, const tensor& weight, const tensor& bias, const tensor& y) {
  assert(y.count() == x.count() / weight.shape()[1] * weight.shape()[0] && (!bias || bias.count() == weight.shape()[0]));
  operation op(*this, "linear_forward", {x, weight, bias}, {y});
  auto product = forward_product(x, weight, y.mutable_data<float>());
  product.bias = data_or_null(bias);
  if (op.products().try_enqueue(product, op.handle()))
    return;
  product.bias = nullptr;
  op.products().enqueue(product, op.handle());
  add_bias(op, product.rows, product.columns, data_or_null(bias), product.c);
}

void cuda_stream::linear_activation_forward(activation kind, const tensor& x, const tensor& weight, const tensor& bias,
                                            const tensor& pre, const tensor& y) {
  assert(y.count() == x.count() / weight.shape()[1] * weight.shape()[0] && pre.count() == y.count());
  operation op(*this, "linear_activation_forward", {x, weight, bias}, {pre, y});
  if (kind == activation::gelu_tanh) {
    auto fused = forward_product(x, weight, y.mutable_data<float>());
    fused.bias = data_or_null(bias);
    fused.gelu_input = pre.mutable_data<float>();
    if (op.products().try_enqueue(fused, op.handle()))
      return;
  }
  const auto product = forward_product(x, weight, pre.mutable_data<float>());
  op.products().enqueue(product, op.handle());
  add_bias_and_activate(op, kind, product.rows, product.columns, data_or_null(bias), product.c, y.mutable_data<float>());
}

void cuda_stream::linear_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& dx,
                                  const tensor& dweight, const tensor& dbias, bool fresh) {
  const auto out = weight.shape()[0], in = weight.shape()[1], rows = dy.count() / out;
  {
    operation op(*this, "linear_backward", {dy, x, weight}, {dx, dweight});
    if (dx) {
      assert(dx.count() == rows * in);
      op.products().enqueue({.rows = rows, .columns = in, .depth = out, .a = dy.data<float>(),
                             .b = weight.data<float>(), .c = dx.mutable_data<float>()},
                            op.handle());
    }
    if (dweight) {
      assert(x.count() == rows * in && dweight.count() == out * in);
      op.products().enqueue({.rows = out, .columns = in, .depth = rows, .a = dy.data<float>(), .b = x.data<float>(),
                             .c = dweight.mutable_data<float>(), .transpose_a = true, .accumulate = !fresh},
                            op.handle());
    }
  }
  if (dbias) {
    assert(dbias.count() == out);
    add_column_sums(dy, rows, out, dbias);
  }
}

}  // namespace troupe::gpu
