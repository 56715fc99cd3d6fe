#include <algorithm>
#include <cmath>
#include <numbers>

#include "runtime/tensor/reference/activations.hpp"
#include "runtime/tensor/reference/reference_device.hpp"
#include "runtime/tensor/reference/views.hpp"

namespace troupe::reference {

namespace {

/// The inner function of gelu's tanh approximation, and its derivative.
double gelu_inner(double x) noexcept {
  return std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
}

double gelu_inner_slope(double x) noexcept {
  return std::sqrt(2 / std::numbers::pi) * (1 + 3 * 0.044715 * x * x);
}

double sigmoid(double x) noexcept {
  return 1 / (1 + std::exp(-x));
}

double silu(double x) noexcept {
  return x * sigmoid(x);
}

double silu_slope(double x) noexcept {
  return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
}

double normal_distribution(double x) noexcept {
  return 0.5 * (1 + std::erf(x / std::numbers::sqrt2));
}

double normal_density(double x) noexcept {
  return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
}

}  // namespace

double activate(activation kind, double x) noexcept {
  switch (kind) {
    case activation::relu: return x > 0 ? x : 0;
    case activation::gelu: return x * normal_distribution(x);
    case activation::gelu_tanh: return 0.5 * x * (1 + std::tanh(gelu_inner(x)));
    case activation::silu: return silu(x);
  }
  return 0;
}

double activation_slope(activation kind, double x) noexcept {
  switch (kind) {
    case activation::relu: return x > 0 ? 1 : 0;
    case activation::gelu: return normal_distribution(x) + x * normal_density(x);
    case activation::gelu_tanh: {
      const double t = std::tanh(gelu_inner(x));
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * gelu_inner_slope(x);
    }
    case activation::silu: return silu_slope(x);
  }
  return 0;
}

void reference_stream::scaled_add(double alpha, const tensor& a, const scalar& beta, const tensor& b, const tensor& out) {
  assert(a.count() == out.count() && (!b || b.count() == out.count()));
  const auto to = elements(out), left = elements(a), right = elements(b);
  for (std::size_t i = 0; i < to.size(); ++i)
    to[i] = alpha * left[i] + (b ? beta.value() * right[i] : 0);
  keep({out});
}

void reference_stream::scale_to_unit(const tensor& a, const tensor& square_sum, double least, const tensor& out) {
  const double norm = std::max(std::sqrt(*square_sum.data<double>()), least);
  const auto from = elements(a), to = elements(out);
  for (std::int64_t i = 0; i < a.count(); ++i)
    to[i] = from[i] / norm;
  keep({out});
}

void reference_stream::activation_forward(activation kind, const tensor& x, const tensor& y) {
  assert(x.count() == y.count());
  const auto in = elements(x), out = elements(y);
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = activate(kind, in[i]);
  keep({y});
}

void reference_stream::activation_backward(activation kind, const tensor& x, const tensor& dy, const tensor& dx) {
  assert(x.count() == dy.count() && x.count() == dx.count());
  const auto in = elements(x), dout = elements(dy), din = elements(dx);
  for (std::size_t i = 0; i < in.size(); ++i)
    din[i] = dout[i] * activation_slope(kind, in[i]);
  keep({dx});
}

void reference_stream::swiglu_forward(const tensor& x, const tensor& y) {
  const matrix in(x), out(y);
  assert(in.rows == out.rows && in.columns == 2 * out.columns);
  for (std::int64_t n = 0; n < out.rows; ++n)
    for (std::int64_t f = 0; f < out.columns; ++f)
      out(n, f) = silu(in(n, f)) * in(n, out.columns + f);
  keep({y});
}

void reference_stream::swiglu_backward(const tensor& x, const tensor& dy, const tensor& dx) {
  const matrix in(x), dout(dy), din(dx);
  assert(in.rows == dout.rows && in.columns == 2 * dout.columns && x.count() == dx.count());
  for (std::int64_t n = 0; n < dout.rows; ++n) {
    for (std::int64_t f = 0; f < dout.columns; ++f) {
      const double gate = in(n, f), up = in(n, dout.columns + f);
      din(n, f) = dout(n, f) * up * silu_slope(gate);
      din(n, dout.columns + f) = dout(n, f) * silu(gate);
    }
  }
  keep({dx});
}

void reference_stream::dropout(const dropout_options& options, const tensor& x, const tensor& y) {
  assert(x.count() == y.count());
  const auto in = elements(x), out = elements(y);
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = in[i] * dropout_factor(options.probability, options.key, static_cast<std::int64_t>(i));
  keep({y});
}

}  // namespace troupe::reference
