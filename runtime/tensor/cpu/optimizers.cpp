#include <cassert>
#include <cmath>

#include "runtime/tensor/cpu/cpu_stream.hpp"
#include "runtime/tensor/cpu/simd.hpp"

/// Each step reads and writes every array once, in one pass: what bounds it is memory.

namespace troupe::cpu {

namespace {

/// Where a step writes the successor of `old`: in place, or aside where somebody still holds the old values. There,
/// unless a cache keeps it until the next pass, it is streamed: else a third as much memory again would be moved.
class successor {
 public:
  successor(const tensor& old, const tensor& out)
      : to_(out.mutable_data<float>()),
        streams_(to_ != old.data<float>() && out.size_bytes() >= streamed_bytes_min &&
                 reinterpret_cast<std::uintptr_t>(to_) % sizeof(floats) == 0) {}

  void store(std::int64_t i, floats v, all_lanes part) const noexcept {
    streams_ ? stream_out(to_ + i, v) : cpu::store(to_ + i, v, part);
  }
  void store(std::int64_t i, floats v, first_lanes part) const noexcept { cpu::store(to_ + i, v, part); }

 private:
  static constexpr std::size_t streamed_bytes_min = std::size_t{1} << 20;

  float* to_;
  bool streams_;
};

}  // namespace

void cpu_stream::adamw(const adamw_options& options, const tensor& gradient, const tensor& parameter,
                       const tensor& first_moment, const tensor& second_moment, const tensor& parameter_out,
                       const tensor& first_moment_out, const tensor& second_moment_out) {
  assert(gradient.count() == parameter.count() && first_moment.count() == parameter.count());
  const auto step = static_cast<double>(options.step);
  const double bias1 = 1.0 - std::pow(options.beta1, step), bias2 = 1.0 - std::pow(options.beta2, step);
  const auto scale = static_cast<float>(options.gradient_scale.value());
  const auto keep1 = static_cast<float>(options.beta1), take1 = static_cast<float>(1.0 - options.beta1);
  const auto keep2 = static_cast<float>(options.beta2), take2 = static_cast<float>(1.0 - options.beta2);
  // (m / bias1) / (sqrt(v / bias2) + epsilon), with the corrections moved out of the loop.
  const auto rate = static_cast<float>(options.learning_rate * std::sqrt(bias2) / bias1);
  const auto epsilon = static_cast<float>(options.epsilon * std::sqrt(bias2));
  const auto decay = static_cast<float>(1.0 - options.learning_rate * options.weight_decay);
  const float *g = gradient.data<float>(), *p = parameter.data<float>();
  const float *m = first_moment.data<float>(), *v = second_moment.data<float>();
  const successor p_out(parameter, parameter_out), m_out(first_moment, first_moment_out);
  const successor v_out(second_moment, second_moment_out);
  each_piece(gradient.count(), [&](std::int64_t first, std::int64_t last) {
    each_vector(last - first, [&](std::int64_t n, auto part) {
      const auto i = first + n;
      const floats slope = load(g + i, part) * scale;
      const floats moment = load(m + i, part) * keep1 + slope * take1;
      const floats square = load(v + i, part) * keep2 + slope * slope * take2;
      m_out.store(i, moment, part);
      v_out.store(i, square, part);
      p_out.store(i, load(p + i, part) * decay - moment * rate / (sqrt(square) + epsilon), part);
    });
    streamed();
  });
}

void cpu_stream::sgd(const sgd_options& options, const tensor& gradient, const tensor& parameter,
                     const tensor& velocity, const tensor& parameter_out, const tensor& velocity_out) {
  assert(gradient.count() == parameter.count() && (!velocity || velocity_out));
  const auto scale = static_cast<float>(options.gradient_scale.value()), decay = static_cast<float>(options.weight_decay);
  const auto momentum = static_cast<float>(options.momentum), rate = static_cast<float>(options.learning_rate);
  const float *g = gradient.data<float>(), *p = parameter.data<float>();
  const float* v = velocity ? velocity.data<float>() : nullptr;
  const successor p_out(parameter, parameter_out);
  const successor v_out = velocity ? successor(velocity, velocity_out) : p_out;
  each_piece(gradient.count(), [&](std::int64_t first, std::int64_t last) {
    each_vector(last - first, [&](std::int64_t n, auto part) {
      const auto i = first + n;
      const floats value = load(p + i, part);
      floats step = load(g + i, part) * scale + value * decay;
      if (v) {
        const floats speed = load(v + i, part) * momentum + step;
        v_out.store(i, speed, part);
        step = options.nesterov ? step + speed * momentum : speed;
      }
      p_out.store(i, value - step * rate, part);
    });
    streamed();
  });
}

void cpu_stream::lion(const lion_options& options, const tensor& gradient, const tensor& parameter,
                      const tensor& moment, const tensor& parameter_out, const tensor& moment_out) {
  assert(gradient.count() == parameter.count() && moment.count() == parameter.count());
  const auto scale = static_cast<float>(options.gradient_scale.value()), rate = static_cast<float>(options.learning_rate);
  const auto keep1 = static_cast<float>(options.beta1), take1 = static_cast<float>(1.0 - options.beta1);
  const auto keep2 = static_cast<float>(options.beta2), take2 = static_cast<float>(1.0 - options.beta2);
  const auto decay = static_cast<float>(1.0 - options.learning_rate * options.weight_decay);
  const float *g = gradient.data<float>(), *p = parameter.data<float>(), *m = moment.data<float>();
  const successor p_out(parameter, parameter_out), m_out(moment, moment_out);
  each_piece(gradient.count(), [&](std::int64_t first, std::int64_t last) {
    each_vector(last - first, [&](std::int64_t n, auto part) {
      const auto i = first + n;
      const floats slope = load(g + i, part) * scale, before = load(m + i, part);
      const floats blend = before * keep1 + slope * take1;
      const floats sign = (blend > 0.0f ? broadcast(1.0f) : floats{}) - (blend < 0.0f ? broadcast(1.0f) : floats{});
      p_out.store(i, load(p + i, part) * decay - sign * rate, part);
      m_out.store(i, before * keep2 + slope * take2, part);
    });
    streamed();
  });
}

void cpu_stream::compensate_delay(const compensation_options& options, const tensor& gradient, const tensor& now,
                                  const tensor& then, const tensor& mean_square, const tensor& out) {
  assert(gradient.count() == now.count() && now.count() == then.count() && out.count() == now.count());
  const auto strength = static_cast<float>(options.lambda), scale = static_cast<float>(options.gradient_scale.value());
  const auto keep = static_cast<float>(options.decay), take = static_cast<float>(1.0 - options.decay);
  const float *g = gradient.data<float>(), *present = now.data<float>(), *past = then.data<float>();
  float* squares = mean_square ? mean_square.mutable_data<float>() : nullptr;
  float* to = out.mutable_data<float>();
  each_piece(gradient.count(), [&](std::int64_t first, std::int64_t last) {
    each_vector(last - first, [&](std::int64_t n, auto part) {
      const auto i = first + n;
      const floats slope = load(g + i, part) * scale;
      floats pull = slope * slope * strength * (load(present + i, part) - load(past + i, part));
      if (squares) {
        const floats square = load(squares + i, part) * keep + slope * slope * take;
        store(squares + i, square, part);
        pull /= sqrt(square + 1e-7f);
      }
      store(to + i, slope + pull, part);
    });
  });
}

}  // namespace troupe::cpu
