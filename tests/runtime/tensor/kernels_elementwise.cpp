#include "kernel_case.hpp"

namespace troupe::tests {

namespace {

kernel_case scaled_add(dice& roll) {
  kernel_case k(roll);
  const auto count = roll.count();
  const double alpha = roll.normal(), beta = roll.normal();
  const slot a = k.input({count}), b = roll.coin() ? k.input({count}) : slot(), out = k.output({count});
  const slot factor = roll.coin() ? k.doubles({1}) : slot();
  if (roll.coin())
    k.share(out, a);
  k.forward = [=](stream& s, const tensors& t) { s.scaled_add(alpha, t[a], {beta, t[factor]}, t[b], t[out]); };
  return k;
}

kernel_case scale_to_unit(dice& roll) {
  kernel_case k(roll);
  const auto count = roll.count();
  const slot a = k.constant({count}), squares = k.doubles({1}), out = k.output({count});
  k[squares].values = {roll.coin() ? 3.7 * static_cast<double>(count) : 1e-20};
  if (roll.coin())
    k.share(out, a);
  k.forward = [=](stream& s, const tensors& t) { s.scale_to_unit(t[a], t[squares], 1e-7, t[out]); };
  return k;
}

template <activation kind>
kernel_case activation_of(dice& roll) {
  kernel_case k(roll);
  const auto count = roll.count();
  const slot x = k.input({count}), y = k.output({count});
  for (double& value : k[x].values)
    value *= 3;  // into the tails
  if (roll.coin())
    k.share_gradient(x, y);
  k.forward = [=](stream& s, const tensors& t) { s.activation_forward(kind, t[x], t[y]); };
  k.backward = [=](stream& s, const tensors& t, const tensors& d) {
    s.activation_backward(kind, t[x], d[y], d[x]);
  };
  return k;
}

kernel_case swiglu(dice& roll) {
  kernel_case k(roll);
  const auto rows = roll.long_extent(), width = roll.extent();
  const slot x = k.input({rows, 2 * width}), y = k.output({rows, width});
  k.forward = [=](stream& s, const tensors& t) { s.swiglu_forward(t[x], t[y]); };
  k.backward = [=](stream& s, const tensors& t, const tensors& d) { s.swiglu_backward(t[x], d[y], d[x]); };
  return k;
}

kernel_case dropout(dice& roll) {
  kernel_case k(roll);
  const auto count = roll.count();
  const dropout_options options{roll.coin() ? 0.1 : 0.5, roll.key()};
  const slot x = k.input({count}), y = k.output({count});
  if (roll.coin())
    k.share(y, x);
  if (roll.coin())
    k.share_gradient(x, y);
  k.forward = [=](stream& s, const tensors& t) { s.dropout(options, t[x], t[y]); };
  k.backward = [=](stream& s, const tensors&, const tensors& d) { s.dropout(options, d[y], d[x]); };
  return k;
}

}  // namespace

std::vector<named_kernel> elementwise_kernels() {
  return {{"scaled_add", scaled_add},
          {"scale_to_unit", scale_to_unit},
          {"activation relu", activation_of<activation::relu>},
          {"activation gelu", activation_of<activation::gelu>},
          {"activation gelu_tanh", activation_of<activation::gelu_tanh>},
          {"activation silu", activation_of<activation::silu>},
          {"swiglu", swiglu},
          {"dropout", dropout}};
}

}  // namespace troupe::tests
