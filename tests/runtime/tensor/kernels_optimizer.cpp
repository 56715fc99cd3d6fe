#include "kernel_case.hpp"

// Learning rates are large, so that an update is no smaller than the parameter and its errors show.

namespace troupe::tests {

namespace {

/// The state's new value: in the memory of the old, or beside it.
slot stepped(kernel_case& k, slot old, bool in_place) {
  const slot fresh = k.output(k[old].extents);
  if (in_place)
    k.share(fresh, old);
  return fresh;
}

/// What clipping multiplies a gradient by, or nothing.
slot clipping(kernel_case& k, dice& roll) { return roll.coin() ? k.doubles({2}) : slot(); }

kernel_case adamw(dice& roll) {
  kernel_case k(roll);
  const shape count{roll.count()};
  adamw_options options{.learning_rate = 0.7, .beta2 = 0.95, .weight_decay = 0.1, .step = 1 + roll.below(5)};
  const double scale = roll.coin() ? 1.0 : 0.3;
  const slot factor = clipping(k, roll);
  const slot gradient = k.constant(count), value = k.constant(count);
  const slot first = k.constant(count), second = k.positive(k.constant(count));
  const bool in_place = roll.coin();
  const slot value_out = stepped(k, value, in_place), first_out = stepped(k, first, in_place);
  const slot second_out = stepped(k, second, in_place);
  k.forward = [=](stream& s, const tensors& t) mutable {
    options.gradient_scale = {scale, t[factor]};
    s.adamw(options, t[gradient], t[value], t[first], t[second], t[value_out], t[first_out], t[second_out]);
  };
  return k;
}

kernel_case sgd(dice& roll) {
  kernel_case k(roll);
  const shape count{roll.count()};
  const bool has_momentum = roll.coin(), in_place = roll.coin();
  sgd_options options{.learning_rate = 0.5, .momentum = has_momentum ? 0.9 : 0.0,
                      .nesterov = has_momentum && roll.coin(), .weight_decay = 0.1};
  const slot factor = clipping(k, roll);
  const slot gradient = k.constant(count), value = k.constant(count);
  const slot velocity = has_momentum ? k.constant(count) : slot();
  const slot value_out = stepped(k, value, in_place);
  const slot velocity_out = has_momentum ? stepped(k, velocity, in_place) : slot();
  k.forward = [=](stream& s, const tensors& t) mutable {
    options.gradient_scale = {0.3, t[factor]};
    s.sgd(options, t[gradient], t[value], t[velocity], t[value_out], t[velocity_out]);
  };
  return k;
}

kernel_case lion(dice& roll) {
  kernel_case k(roll);
  const shape count{roll.count()};
  lion_options options{.learning_rate = 0.5, .weight_decay = 0.1};
  const slot factor = clipping(k, roll);
  const bool in_place = roll.coin();
  const slot gradient = k.constant(count), value = k.constant(count), moment = k.constant(count);
  const slot value_out = stepped(k, value, in_place), moment_out = stepped(k, moment, in_place);
  k.forward = [=](stream& s, const tensors& t) mutable {
    options.gradient_scale = {0.3, t[factor]};
    s.lion(options, t[gradient], t[value], t[moment], t[value_out], t[moment_out]);
  };
  return k;
}

kernel_case compensate_delay(dice& roll) {
  kernel_case k(roll);
  const shape count{roll.count()};
  const slot gradient = k.constant(count), now = k.constant(count), then = k.constant(count);
  const slot mean_square = roll.coin() ? k.positive(k.updated(count)) : slot();
  const slot out = stepped(k, gradient, roll.coin()), factor = clipping(k, roll);
  k.forward = [=](stream& s, const tensors& t) {
    s.compensate_delay({0.4, 0.9, {0.7, t[factor]}}, t[gradient], t[now], t[then], t[mean_square], t[out]);
  };
  return k;
}

}  // namespace

std::vector<named_kernel> optimizer_kernels() {
  return {{"adamw", adamw}, {"sgd", sgd}, {"lion", lion}, {"compensate_delay", compensate_delay}};
}

}  // namespace troupe::tests
