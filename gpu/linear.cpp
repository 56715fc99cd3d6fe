#include <cassert>

#include "gpu/cuda_stream.hpp"
#include "gpu/kernels/finish_linear.hpp"
#include "gpu/operation.hpp"

namespace troupe::gpu {

namespace {

/// y[rows, out] = x[rows, in] * weight[out, in]^T.
matrix_product forward_product(const tensor& x, const tensor& weight, const tensor& y) {
  const auto out = weight.shape()[0], in = weight.shape()[1];
  return {.rows = x.count() / in, .columns = out, .depth = in, .a = x, .b = weight, .c = y, .transpose_b = true};
}

/// dx[rows, in] = dy[rows, out] * weight[out, in].
matrix_product input_gradient(const tensor& dy, const tensor& weight, const tensor& dx) {
  const auto out = weight.shape()[0], in = weight.shape()[1];
  return {.rows = dy.count() / out, .columns = in, .depth = out, .a = dy, .b = weight, .c = dx};
}

}  // namespace

void cuda_stream::matmul(const tensor& a, const tensor& b, const tensor& c, const matmul_options& options) {
  const auto rows = c.shape()[0], columns = c.shape()[1], depth = a.shape()[options.transpose_a ? 0 : 1];
  assert(a.count() == rows * depth && b.count() == depth * columns);
  operation op(*this, "matmul", {a, b}, {c});
  op.products().enqueue({.rows = rows, .columns = columns, .depth = depth, .a = a, .b = b, .c = c,
                         .transpose_a = options.transpose_a, .transpose_b = options.transpose_b,
                         .accumulate = options.accumulate, .alpha = static_cast<float>(options.alpha)},
                        op.handle());
}

void cuda_stream::linear_forward(const tensor& x, const tensor& weight, const tensor& bias, const tensor& y) {
  assert(y.count() == x.count() / weight.shape()[1] * weight.shape()[0] && (!bias || bias.count() == weight.shape()[0]));
  operation op(*this, "linear_forward", {x, weight, bias}, {y});
  auto product = forward_product(x, weight, y);
  product.bias = bias;
  if (op.products().try_enqueue(product, op.handle()))
    return;
  product.bias = {};
  op.products().enqueue(product, op.handle());
  add_bias(op, product.rows, bias, y);
}

void cuda_stream::linear_activation_forward(activation kind, const tensor& x, const tensor& weight, const tensor& bias,
                                            const tensor& pre, const tensor& y) {
  assert(y.count() == x.count() / weight.shape()[1] * weight.shape()[0] && pre.count() == y.count());
  operation op(*this, "linear_activation_forward", {x, weight, bias}, {pre, y});
  if (kind == activation::gelu_tanh) {
    auto fused = forward_product(x, weight, y);
    fused.bias = bias;
    fused.gelu_input = pre;
    if (op.products().try_enqueue(fused, op.handle()))
      return;
  }
  const auto product = forward_product(x, weight, pre);
  op.products().enqueue(product, op.handle());
  add_bias_and_activate(op, kind, product.rows, bias, pre, y);
}

void cuda_stream::linear_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& dx,
                                  const tensor& dweight, const tensor& dbias, bool fresh) {
  const auto out = weight.shape()[0], in = weight.shape()[1], rows = dy.count() / out;
  {
    operation op(*this, "linear_backward", {dy, x, weight}, {dx, dweight});
    if (dx) {
      assert(dx.count() == rows * in);
      op.products().enqueue(input_gradient(dy, weight, dx), op.handle());
    }
    if (dweight) {
      assert(x.count() == rows * in && dweight.count() == out * in);
      op.products().enqueue({.rows = out, .columns = in, .depth = rows, .a = dy, .b = x, .c = dweight,
                             .transpose_a = true, .accumulate = !fresh},
                            op.handle());
    }
  }
  if (dbias) {
    assert(dbias.count() == out);
    add_column_sums(dy, rows, out, dbias);
  }
}

void cuda_stream::linear_activation_backward(activation kind, const tensor& pre, const tensor& dy, const tensor& x,
                                             const tensor& weight, const tensor& dx, const tensor& dweight,
                                             const tensor& dbias, bool fresh) {
  assert(pre.count() == x.count() && dx.count() == x.count());
  if (kind == activation::gelu_tanh) {
    operation op(*this, "linear_activation_backward", {pre, dy, weight}, {dx});
    auto fused = input_gradient(dy, weight, dx);
    fused.gelu_gradient_at = pre;
    if (op.products().try_enqueue(fused, op.handle())) {
      linear_backward(dy, x, weight, {}, dweight, dbias, fresh);
      return;
    }
  }
  stream::linear_activation_backward(kind, pre, dy, x, weight, dx, dweight, dbias, fresh);
}

}  // namespace troupe::gpu
