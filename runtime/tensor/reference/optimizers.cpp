#include <cmath>

#include "runtime/tensor/reference/reference_device.hpp"
#include "runtime/tensor/reference/views.hpp"

namespace troupe::reference {

void reference_stream::adamw(const adamw_options& options, const tensor& gradient, const tensor& parameter,
                             const tensor& first_moment, const tensor& second_moment, const tensor& parameter_out,
                             const tensor& first_moment_out, const tensor& second_moment_out) {
  const auto g = elements(gradient), p = elements(parameter), m = elements(first_moment), v = elements(second_moment);
  const auto p_out = elements(parameter_out), m_out = elements(first_moment_out), v_out = elements(second_moment_out);
  const double bias1 = 1 - std::pow(options.beta1, static_cast<double>(options.step));
  const double bias2 = 1 - std::pow(options.beta2, static_cast<double>(options.step));
  const double scale = options.gradient_scale.value();
  for (std::size_t i = 0; i < g.size(); ++i) {
    const double slope = scale * g[i];
    m_out[i] = options.beta1 * m[i] + (1 - options.beta1) * slope;
    v_out[i] = options.beta2 * v[i] + (1 - options.beta2) * slope * slope;
    const double step = (m_out[i] / bias1) / (std::sqrt(v_out[i] / bias2) + options.epsilon);
    p_out[i] = p[i] - options.learning_rate * (step + options.weight_decay * p[i]);
  }
}

void reference_stream::sgd(const sgd_options& options, const tensor& gradient, const tensor& parameter,
                           const tensor& velocity, const tensor& parameter_out, const tensor& velocity_out) {
  const auto g = elements(gradient), p = elements(parameter), v = elements(velocity);
  const auto p_out = elements(parameter_out), v_out = elements(velocity_out);
  const double scale = options.gradient_scale.value();
  for (std::size_t i = 0; i < g.size(); ++i) {
    double step = scale * g[i] + options.weight_decay * p[i];
    if (velocity) {
      v_out[i] = options.momentum * v[i] + step;
      step = options.nesterov ? step + options.momentum * v_out[i] : v_out[i];
    }
    p_out[i] = p[i] - options.learning_rate * step;
  }
}

void reference_stream::lion(const lion_options& options, const tensor& gradient, const tensor& parameter,
                            const tensor& moment, const tensor& parameter_out, const tensor& moment_out) {
  const auto g = elements(gradient), p = elements(parameter), m = elements(moment);
  const auto p_out = elements(parameter_out), m_out = elements(moment_out);
  const double scale = options.gradient_scale.value();
  for (std::size_t i = 0; i < g.size(); ++i) {
    const double slope = scale * g[i];
    const double blend = options.beta1 * m[i] + (1 - options.beta1) * slope;
    const double step = blend > 0 ? 1 : blend < 0 ? -1 : 0;
    p_out[i] = p[i] - options.learning_rate * (step + options.weight_decay * p[i]);
    m_out[i] = options.beta2 * m[i] + (1 - options.beta2) * slope;
  }
}

void reference_stream::compensate_delay(const compensation_options& options, const tensor& gradient,
                                        const tensor& now, const tensor& then, const tensor& mean_square,
                                        const tensor& out) {
  const auto g = elements(gradient), present = elements(now), past = elements(then), ms = elements(mean_square);
  const auto to = elements(out);
  const double scale = options.gradient_scale.value(), decay = options.decay;
  for (std::size_t i = 0; i < g.size(); ++i) {
    const double slope = scale * g[i];
    double strength = options.lambda;
    if (mean_square) {
      ms[i] = decay * ms[i] + (1 - decay) * slope * slope;
      strength /= std::sqrt(ms[i] + 1e-7);
    }
    to[i] = slope + strength * slope * slope * (present[i] - past[i]);
  }
}

}  // namespace troupe::reference
