#include "runtime/tensor/reference/activations.hpp"
#include "runtime/tensor/reference/reference_device.hpp"
#include "runtime/tensor/reference/views.hpp"

namespace troupe::reference {

namespace {

void multiply(const tensor& a, const tensor& b, const tensor& c, const matmul_options& options) {
  const matrix left(a), right(b), out(c);
  const std::int64_t inner = options.transpose_a ? left.rows : left.columns;
  assert(out.rows == (options.transpose_a ? left.columns : left.rows));
  assert(out.columns == (options.transpose_b ? right.rows : right.columns));
  assert(inner == (options.transpose_b ? right.columns : right.rows));
  for (std::int64_t m = 0; m < out.rows; ++m) {
    for (std::int64_t n = 0; n < out.columns; ++n) {
      double sum = 0;
      for (std::int64_t k = 0; k < inner; ++k)
        sum += (options.transpose_a ? left(k, m) : left(m, k)) * (options.transpose_b ? right(n, k) : right(k, n));
      out(m, n) = options.alpha * sum + (options.accumulate ? out(m, n) : 0);
    }
  }
}

/// y = x * weight^T + bias, where there is one.
void multiply_and_shift(const tensor& x, const tensor& weight, const tensor& bias, const tensor& y) {
  multiply(x, weight, y, {.transpose_b = true});
  const matrix out(y);
  const auto shift = elements(bias);
  assert(!bias || bias.count() == out.columns);
  for (std::int64_t n = 0; bias && n < out.rows; ++n)
    for (std::int64_t o = 0; o < out.columns; ++o)
      out(n, o) += shift[o];
}

}  // namespace

void reference_stream::matmul(const tensor& a, const tensor& b, const tensor& c, const matmul_options& options) {
  multiply(a, b, c, options);
  keep({c});
}

void reference_stream::linear_forward(const tensor& x, const tensor& weight, const tensor& bias, const tensor& y) {
  multiply_and_shift(x, weight, bias, y);
  keep({y});
}

void reference_stream::linear_activation_forward(activation kind, const tensor& x, const tensor& weight,
                                                 const tensor& bias, const tensor& pre, const tensor& y) {
  multiply_and_shift(x, weight, bias, pre);
  const auto in = elements(pre), out = elements(y);
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = activate(kind, in[i]);
  keep({pre, y});
}

void reference_stream::linear_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& dx,
                                       const tensor& dweight, const tensor& dbias, bool fresh) {
  if (dx)
    matmul(dy, weight, dx, {});
  if (dweight)
    multiply(dy, x, dweight, {.transpose_a = true, .accumulate = !fresh});
  if (dbias) {
    const matrix dout(dy);
    assert(dbias.count() == dout.columns);
    const auto sums = elements(dbias);
    for (std::int64_t n = 0; n < dout.rows; ++n)
      for (std::int64_t o = 0; o < dout.columns; ++o)
        sums[o] += dout(n, o);
  }
}

}  // namespace troupe::reference
