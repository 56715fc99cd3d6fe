#include <cassert>
#include <cmath>

#include "gpu/kernels/each.hpp"

/// Each step reads and writes every array once.

namespace troupe::gpu {

namespace {

struct adamw_body {
  float scale, keep1, take1, keep2, take2, rate, epsilon, decay;
  const float *gradient, *parameter, *first, *second;
  float *parameter_out, *first_out, *second_out;

  __device__ void operator()(std::int64_t i) const {
    const float slope = gradient[i] * scale;
    const float moment = first[i] * keep1 + slope * take1;
    const float square = second[i] * keep2 + slope * slope * take2;
    first_out[i] = moment;
    second_out[i] = square;
    parameter_out[i] = parameter[i] * decay - moment * rate / (sqrtf(square) + epsilon);
  }
};

struct sgd_body {
  float scale, decay, momentum, rate;
  bool nesterov;
  const float *gradient, *parameter, *velocity;
  float *parameter_out, *velocity_out;

  __device__ void operator()(std::int64_t i) const {
    const float value = parameter[i];
    float step = gradient[i] * scale + value * decay;
    if (velocity) {
      const float speed = velocity[i] * momentum + step;
      velocity_out[i] = speed;
      step = nesterov ? step + speed * momentum : speed;
    }
    parameter_out[i] = value - step * rate;
  }
};

struct lion_body {
  float scale, keep1, take1, keep2, take2, rate, decay;
  const float *gradient, *parameter, *moment;
  float *parameter_out, *moment_out;

  __device__ void operator()(std::int64_t i) const {
    const float slope = gradient[i] * scale, before = moment[i];
    const float blend = before * keep1 + slope * take1;
    const float sign = static_cast<float>(blend > 0.0f) - static_cast<float>(blend < 0.0f);
    parameter_out[i] = parameter[i] * decay - sign * rate;
    moment_out[i] = before * keep2 + slope * take2;
  }
};

struct compensation_body {
  float strength, keep, take, scale;
  const float *gradient, *now, *then;
  float *mean_square, *out;

  __device__ void operator()(std::int64_t i) const {
    const float slope = gradient[i] * scale;
    float pull = slope * slope * strength * (now[i] - then[i]);
    if (mean_square) {
      const float square = mean_square[i] * keep + slope * slope * take;
      mean_square[i] = square;
      pull /= sqrtf(square + 1e-7f);
    }
    out[i] = slope + pull;
  }
};

}  // namespace

void cuda_stream::adamw(const adamw_options& options, const tensor& gradient, const tensor& parameter,
                        const tensor& first_moment, const tensor& second_moment, const tensor& parameter_out,
                        const tensor& first_moment_out, const tensor& second_moment_out) {
  assert(gradient.count() == parameter.count() && first_moment.count() == parameter.count());
  const auto step = static_cast<double>(options.step);
  const double bias1 = 1.0 - std::pow(options.beta1, step), bias2 = 1.0 - std::pow(options.beta2, step);
  operation op(*this, "adamw", {gradient, parameter, first_moment, second_moment},
               {parameter_out, first_moment_out, second_moment_out});
  // (m / bias1) / (sqrt(v / bias2) + epsilon), with the corrections moved out of the loop.
  each_element(op, gradient.count(),
               adamw_body{static_cast<float>(options.gradient_scale), static_cast<float>(options.beta1),
                          static_cast<float>(1.0 - options.beta1), static_cast<float>(options.beta2),
                          static_cast<float>(1.0 - options.beta2),
                          static_cast<float>(options.learning_rate * std::sqrt(bias2) / bias1),
                          static_cast<float>(options.epsilon * std::sqrt(bias2)),
                          static_cast<float>(1.0 - options.learning_rate * options.weight_decay),
                          gradient.data<float>(), parameter.data<float>(), first_moment.data<float>(),
                          second_moment.data<float>(), parameter_out.mutable_data<float>(),
                          first_moment_out.mutable_data<float>(), second_moment_out.mutable_data<float>()});
}

void cuda_stream::sgd(const sgd_options& options, const tensor& gradient, const tensor& parameter,
                      const tensor& velocity, const tensor& parameter_out, const tensor& velocity_out) {
  assert(gradient.count() == parameter.count() && (!velocity || velocity_out));
  operation op(*this, "sgd", {gradient, parameter, velocity}, {parameter_out, velocity_out});
  each_element(op, gradient.count(),
               sgd_body{static_cast<float>(options.gradient_scale), static_cast<float>(options.weight_decay),
                        static_cast<float>(options.momentum), static_cast<float>(options.learning_rate),
                        options.nesterov, gradient.data<float>(), parameter.data<float>(), data_or_null(velocity),
                        parameter_out.mutable_data<float>(), mutable_or_null(velocity_out)});
}

void cuda_stream::lion(const lion_options& options, const tensor& gradient, const tensor& parameter,
                       const tensor& moment, const tensor& parameter_out, const tensor& moment_out) {
  assert(gradient.count() == parameter.count() && moment.count() == parameter.count());
  operation op(*this, "lion", {gradient, parameter, moment}, {parameter_out, moment_out});
  each_element(op, gradient.count(),
               lion_body{static_cast<float>(options.gradient_scale), static_cast<float>(options.beta1),
                         static_cast<float>(1.0 - options.beta1), static_cast<float>(options.beta2),
                         static_cast<float>(1.0 - options.beta2), static_cast<float>(options.learning_rate),
                         static_cast<float>(1.0 - options.learning_rate * options.weight_decay),
                         gradient.data<float>(), parameter.data<float>(), moment.data<float>(),
                         parameter_out.mutable_data<float>(), moment_out.mutable_data<float>()});
}

void cuda_stream::compensate_delay(double lambda, double decay, double gradient_scale, const tensor& gradient,
                                   const tensor& now, const tensor& then, const tensor& mean_square,
                                   const tensor& out) {
  assert(gradient.count() == now.count() && now.count() == then.count() && out.count() == now.count());
  operation op(*this, "compensate_delay", {gradient, now, then}, {mean_square, out});
  each_element(op, gradient.count(),
               compensation_body{static_cast<float>(lambda), static_cast<float>(decay),
                                 static_cast<float>(1.0 - decay), static_cast<float>(gradient_scale),
                                 gradient.data<float>(), now.data<float>(), then.data<float>(),
                                 mutable_or_null(mean_square), out.mutable_data<float>()});
}

}  // namespace troupe::gpu
