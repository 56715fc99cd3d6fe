#include <algorithm>
#include <cassert>
#include <cmath>

#include "gpu/kernels/together.hpp"

/// Each step reads and writes every array once.

namespace troupe::gpu {

namespace {

struct adamw_body {
  multiplier scale;
  float keep1, take1, keep2, take2, rate, epsilon, decay;

  __device__ void operator()(float& parameter_out, float& first_out, float& second_out, float gradient, float parameter,
                             float first, float second) const {
    const float slope = gradient * scale.value();
    first_out = first * keep1 + slope * take1;
    second_out = second * keep2 + slope * slope * take2;
    parameter_out = parameter * decay - first_out * rate / (sqrtf(second_out) + epsilon);
  }
};

/// Updates one of many parameters.
struct adamw_update {
  static constexpr int N = pack_size<float>;

  adamw_body body;
  std::int64_t count;
  float *parameter_out, *first_out, *second_out;
  const float *gradient, *parameter, *first, *second;

  unsigned blocks() const { return static_cast<unsigned>(ceiling(count, each_threads * N)); }
  __device__ void operator()(unsigned block) const {
    const std::int64_t i = (std::int64_t{block} * each_threads + threadIdx.x) * N;
    if (i < count)
      apply_to_pack<N>(body, count, i, parameter_out + i, first_out + i, second_out + i, gradient + i, parameter + i,
                       first + i, second + i);
  }
};

struct sgd_body {
  multiplier scale;
  float decay, momentum, rate;
  bool nesterov;

  __device__ void operator()(float& parameter_out, float gradient, float parameter) const {
    parameter_out = parameter - (gradient * scale.value() + parameter * decay) * rate;
  }
  __device__ void operator()(float& parameter_out, float& velocity_out, float gradient, float parameter,
                             float velocity) const {
    const float step = gradient * scale.value() + parameter * decay;
    velocity_out = velocity * momentum + step;
    parameter_out = parameter - (nesterov ? step + velocity_out * momentum : velocity_out) * rate;
  }
};

struct lion_body {
  multiplier scale;
  float keep1, take1, keep2, take2, rate, decay;

  __device__ void operator()(float& parameter_out, float& moment_out, float gradient, float parameter,
                             float moment) const {
    const float slope = gradient * scale.value(), blend = moment * keep1 + slope * take1;
    const float sign = static_cast<float>(blend > 0.0f) - static_cast<float>(blend < 0.0f);
    parameter_out = parameter * decay - sign * rate;
    moment_out = moment * keep2 + slope * take2;
  }
};

struct compensation_body {
  multiplier scale;
  float strength, keep, take;

  __device__ void operator()(float& out, float gradient, float now, float then) const {
    const float slope = gradient * scale.value();
    out = slope + slope * slope * strength * (now - then);
  }
  __device__ void operator()(float& out, float& square_out, float gradient, float now, float then, float square) const {
    const float slope = gradient * scale.value();
    square_out = square * keep + slope * slope * take;
    out = slope + slope * slope * strength * (now - then) / sqrtf(square_out + 1e-7f);
  }
};

}  // namespace

void cuda_stream::adamw(const adamw_options& options, const tensor& gradient, const tensor& parameter,
                        const tensor& first_moment, const tensor& second_moment, const tensor& parameter_out,
                        const tensor& first_moment_out, const tensor& second_moment_out) {
  const adamw_tensors one{options.weight_decay, gradient,      parameter,        first_moment,
                          second_moment,        parameter_out, first_moment_out, second_moment_out};
  adamw_all(options, {&one, 1});
}

void cuda_stream::adamw_all(const adamw_options& options, std::span<const adamw_tensors> all) {
  const auto step = static_cast<double>(options.step);
  const double bias1 = 1.0 - std::pow(options.beta1, step), bias2 = 1.0 - std::pow(options.beta2, step);
  // (m / bias1) / (sqrt(v / bias2) + epsilon), with the corrections moved out of the loop.
  for (std::size_t next = 0; next < all.size();) {
    operation op(*this, "adamw", {}, {});
    adamw_body body{multiplier::of(op, options.gradient_scale),
                    static_cast<float>(options.beta1),
                    static_cast<float>(1.0 - options.beta1),
                    static_cast<float>(options.beta2),
                    static_cast<float>(1.0 - options.beta2),
                    static_cast<float>(options.learning_rate * std::sqrt(bias2) / bias1),
                    static_cast<float>(options.epsilon * std::sqrt(bias2)),
                    1.0f};
    together<adamw_update> updates;
    for (const auto end = std::min(all.size(), next + updates.most); next < end; ++next) {
      const adamw_tensors& each = all[next];
      assert(each.gradient.count() == each.parameter.count() && each.first_moment.count() == each.parameter.count());
      for (const tensor* in : {&each.gradient, &each.parameter, &each.first_moment, &each.second_moment})
        op.also_reads(*in);
      for (const tensor* out : {&each.parameter_out, &each.first_moment_out, &each.second_moment_out})
        op.also_writes(*out);
      body.decay = static_cast<float>(1.0 - options.learning_rate * each.weight_decay);
      updates.add({body, each.gradient.count(), each.parameter_out.mutable_data<float>(),
                   each.first_moment_out.mutable_data<float>(), each.second_moment_out.mutable_data<float>(),
                   each.gradient.data<float>(), each.parameter.data<float>(), each.first_moment.data<float>(),
                   each.second_moment.data<float>()});
    }
    updates.launch(op);
  }
}

void cuda_stream::sgd(const sgd_options& options, const tensor& gradient, const tensor& parameter,
                      const tensor& velocity, const tensor& parameter_out, const tensor& velocity_out) {
  assert(gradient.count() == parameter.count() && (!velocity || velocity_out));
  operation op(*this, "sgd", {gradient, parameter, velocity}, {parameter_out, velocity_out});
  const sgd_body body{multiplier::of(op, options.gradient_scale), static_cast<float>(options.weight_decay),
                      static_cast<float>(options.momentum), static_cast<float>(options.learning_rate), options.nesterov};
  if (velocity)
    each_element(op, gradient.count(), body, parameter_out.mutable_data<float>(), velocity_out.mutable_data<float>(),
                 gradient.data<float>(), parameter.data<float>(), velocity.data<float>());
  else
    each_element(op, gradient.count(), body, parameter_out.mutable_data<float>(), gradient.data<float>(),
                 parameter.data<float>());
}

void cuda_stream::lion(const lion_options& options, const tensor& gradient, const tensor& parameter,
                       const tensor& moment, const tensor& parameter_out, const tensor& moment_out) {
  assert(gradient.count() == parameter.count() && moment.count() == parameter.count());
  operation op(*this, "lion", {gradient, parameter, moment}, {parameter_out, moment_out});
  each_element(op, gradient.count(),
               lion_body{multiplier::of(op, options.gradient_scale), static_cast<float>(options.beta1),
                         static_cast<float>(1.0 - options.beta1), static_cast<float>(options.beta2),
                         static_cast<float>(1.0 - options.beta2), static_cast<float>(options.learning_rate),
                         static_cast<float>(1.0 - options.learning_rate * options.weight_decay)},
               parameter_out.mutable_data<float>(), moment_out.mutable_data<float>(), gradient.data<float>(),
               parameter.data<float>(), moment.data<float>());
}

void cuda_stream::compensate_delay(const compensation_options& options, const tensor& gradient, const tensor& now,
                                   const tensor& then, const tensor& mean_square, const tensor& out) {
  assert(gradient.count() == now.count() && now.count() == then.count() && out.count() == now.count());
  operation op(*this, "compensate_delay", {gradient, now, then}, {mean_square, out});
  const compensation_body body{multiplier::of(op, options.gradient_scale), static_cast<float>(options.lambda),
                               static_cast<float>(options.decay), static_cast<float>(1.0 - options.decay)};
  if (mean_square)
    each_element(op, gradient.count(), body, out.mutable_data<float>(), mean_square.mutable_data<float>(),
                 gradient.data<float>(), now.data<float>(), then.data<float>(), mean_square.data<float>());
  else
    each_element(op, gradient.count(), body, out.mutable_data<float>(), gradient.data<float>(), now.data<float>(),
                 then.data<float>());
}

}  // namespace troupe::gpu
