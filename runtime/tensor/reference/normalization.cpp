#include <cmath>

#include "runtime/tensor/reference/reference_device.hpp"
#include "runtime/tensor/reference/views.hpp"

namespace troupe::reference {

namespace {

/// What is to be normalised: x, or residual = x + delta.
matrix residual_sum(const tensor& x, const tensor& delta, const tensor& residual) {
  if (!delta)
    return matrix(x);
  assert(x.count() == delta.count() && x.count() == residual.count());
  const auto in = elements(x), more = elements(delta), out = elements(residual);
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = in[i] + more[i];
  return matrix(residual);
}

double mean_square(std::span<const double> row, double mean) {
  double sum = 0;
  for (const double r : row)
    sum += (r - mean) * (r - mean);
  return sum / static_cast<double>(row.size());
}

double mean_of(std::span<const double> row) {
  double sum = 0;
  for (const double r : row)
    sum += r;
  return sum / static_cast<double>(row.size());
}

}  // namespace

void reference_stream::layer_norm_forward(const tensor& x, const tensor& delta, const tensor& weight,
                                          const tensor& bias, double epsilon, const tensor& residual, const tensor& y,
                                          const tensor& mean, const tensor& rstd) {
  const matrix in = residual_sum(x, delta, residual), out(y);
  if (delta)
    keep({residual});
  const auto means = elements(mean), rstds = elements(rstd), scale = elements(weight), shift = elements(bias);
  for (std::int64_t n = 0; n < in.rows; ++n) {
    means[n] = mean_of(in[n]);
    rstds[n] = 1 / std::sqrt(mean_square(in[n], means[n]) + epsilon);
    for (std::int64_t c = 0; c < in.columns; ++c)
      out(n, c) = (in(n, c) - means[n]) * rstds[n] * scale[c] + (bias ? shift[c] : 0);
  }
  keep({y});
}

void reference_stream::layer_norm_backward(const tensor& dy, const tensor& x, const tensor& weight,
                                           const tensor& mean, const tensor& rstd, const tensor& residual_gradient,
                                           const tensor& dx, const tensor& dweight, const tensor& dbias) {
  const matrix dout(dy), in(x), din(dx);
  const auto means = elements(mean), rstds = elements(rstd), scale = elements(weight);
  const auto passed_by = elements(residual_gradient), dscale = elements(dweight), dshift = elements(dbias);
  for (std::int64_t n = 0; n < in.rows; ++n) {
    const auto normal = [&](std::int64_t c) { return (in(n, c) - means[n]) * rstds[n]; };
    double gradient_mean = 0, product_mean = 0;
    for (std::int64_t c = 0; c < in.columns; ++c) {
      gradient_mean += dout(n, c) * scale[c] / static_cast<double>(in.columns);
      product_mean += dout(n, c) * scale[c] * normal(c) / static_cast<double>(in.columns);
    }
    for (std::int64_t c = 0; c < in.columns; ++c) {
      const double gradient = dout(n, c);
      if (dweight)
        dscale[c] += gradient * normal(c);
      if (dbias)
        dshift[c] += gradient;
      din(n, c) = (gradient * scale[c] - gradient_mean - normal(c) * product_mean) * rstds[n] +
                  (residual_gradient ? passed_by[n * in.columns + c] : 0);
    }
  }
  keep({dx});
}

void reference_stream::rms_norm_forward(const tensor& x, const tensor& delta, const tensor& weight, double epsilon,
                                        const tensor& residual, const tensor& y, const tensor& rstd) {
  const matrix in = residual_sum(x, delta, residual), out(y);
  if (delta)
    keep({residual});
  const auto rstds = elements(rstd), scale = elements(weight);
  for (std::int64_t n = 0; n < in.rows; ++n) {
    rstds[n] = 1 / std::sqrt(mean_square(in[n], 0) + epsilon);
    for (std::int64_t c = 0; c < in.columns; ++c)
      out(n, c) = in(n, c) * rstds[n] * scale[c];
  }
  keep({y});
}

void reference_stream::rms_norm_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& rstd,
                                         const tensor& residual_gradient, const tensor& dx, const tensor& dweight) {
  const matrix dout(dy), in(x), din(dx);
  const auto rstds = elements(rstd), scale = elements(weight);
  const auto passed_by = elements(residual_gradient), dscale = elements(dweight);
  for (std::int64_t n = 0; n < in.rows; ++n) {
    double product_mean = 0;
    for (std::int64_t c = 0; c < in.columns; ++c)
      product_mean += dout(n, c) * scale[c] * in(n, c) * rstds[n] / static_cast<double>(in.columns);
    for (std::int64_t c = 0; c < in.columns; ++c) {
      const double gradient = dout(n, c), normal = in(n, c) * rstds[n];
      if (dweight)
        dscale[c] += gradient * normal;
      din(n, c) = (gradient * scale[c] - normal * product_mean) * rstds[n] +
                  (residual_gradient ? passed_by[n * in.columns + c] : 0);
    }
  }
  keep({dx});
}

}  // namespace troupe::reference
