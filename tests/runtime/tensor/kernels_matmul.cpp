#include <array>
#include <utility>

#include "kernel_case.hpp"

namespace troupe::tests {

namespace {

/// Rows, columns and depth. One in two has a long axis and one in four has two, beside a short one.
struct product_extents {
  std::int64_t rows, columns, depth;

  explicit product_extents(dice& roll) : rows(roll.extent()), columns(roll.extent()), depth(roll.extent()) {
    std::array axes{&rows, &columns, &depth};
    std::swap(axes[0], axes[static_cast<std::size_t>(roll.below(3))]);
    if (roll.coin())
      return;
    *axes[0] = roll.long_extent();
    if (roll.coin())
      return;
    *axes[1] = roll.long_extent();
    *axes[2] = roll.factor();
  }
};

kernel_case matmul(dice& roll) {
  kernel_case k(roll);
  const auto [m, n, inner] = product_extents(roll);
  const matmul_options options{.transpose_a = roll.coin(), .transpose_b = roll.coin(), .accumulate = roll.coin(),
                               .alpha = roll.coin() ? 1.0 : roll.normal()};
  const slot a = k.constant(options.transpose_a ? shape{inner, m} : shape{m, inner});
  const slot b = k.constant(options.transpose_b ? shape{n, inner} : shape{inner, n});
  const slot c = options.accumulate ? k.updated({m, n}) : k.output({m, n});
  k.forward = [=](stream& s, const tensors& t) { s.matmul(t[a], t[b], t[c], options); };
  return k;
}

/// Each of what is optional is there or not: the bias, and the gradients of x, weight and bias.
kernel_case linear(dice& roll) {
  kernel_case k(roll);
  const auto [rows, outputs, inputs] = product_extents(roll);
  const auto batch = 1 + roll.below(2);
  const slot x = roll.below(4) == 0 ? k.constant({batch, rows, inputs}) : k.input({batch, rows, inputs});
  const bool fresh = roll.coin();  // the weight's gradient is overwritten then, like an input's
  const slot weight = roll.below(4) == 0 ? k.constant({outputs, inputs})
                      : fresh            ? k.fresh_parameter({outputs, inputs})
                                         : k.parameter({outputs, inputs});
  const slot bias = roll.coin() ? k.parameter({outputs}) : slot();
  const slot y = k.output({batch, rows, outputs});
  k.forward = [=](stream& s, const tensors& t) { s.linear_forward(t[x], t[weight], t[bias], t[y]); };
  k.backward = [=](stream& s, const tensors& t, const tensors& d) {
    s.linear_backward(d[y], t[x], t[weight], d[x], d[weight], d[bias], fresh);
  };
  return k;
}

template <activation kind>
kernel_case linear_activation(dice& roll) {
  kernel_case k(roll);
  const auto [rows, outputs, inputs] = product_extents(roll);
  const slot x = k.input({rows, inputs}), weight = k.parameter({outputs, inputs});
  const slot bias = roll.coin() ? k.parameter({outputs}) : slot();
  const slot pre = k.output({rows, outputs}), y = k.output({rows, outputs});
  k.forward = [=](stream& s, const tensors& t) {
    s.linear_activation_forward(kind, t[x], t[weight], t[bias], t[pre], t[y]);
  };
  return k;
}

/// Of what an activation made, with the gradient through both.
template <activation kind>
kernel_case linear_after(dice& roll) {
  kernel_case k(roll);
  const auto [rows, outputs, inputs] = product_extents(roll);
  const bool fresh = roll.coin();
  const slot pre = k.input({rows, inputs}), x = k.saved({rows, inputs});
  k[x].is_accumulated = false;
  const slot weight = fresh ? k.fresh_parameter({outputs, inputs}) : k.parameter({outputs, inputs});
  const slot bias = roll.coin() ? k.parameter({outputs}) : slot();
  const slot y = k.output({rows, outputs});
  k.forward = [=](stream& s, const tensors& t) {
    s.activation_forward(kind, t[pre], t[x]);
    s.linear_forward(t[x], t[weight], t[bias], t[y]);
  };
  k.backward = [=](stream& s, const tensors& t, const tensors& d) {
    s.linear_activation_backward(kind, t[pre], d[y], t[x], t[weight], d[pre], d[weight], d[bias], fresh);
  };
  return k;
}

}  // namespace

std::vector<named_kernel> matmul_kernels() {
  return {{"matmul", matmul},
          {"linear", linear},
          {"linear_activation relu", linear_activation<activation::relu>},
          {"linear_activation gelu", linear_activation<activation::gelu>},
          {"linear_activation gelu_tanh", linear_activation<activation::gelu_tanh>},
          {"linear_activation silu", linear_activation<activation::silu>},
          {"linear_after gelu_tanh", linear_after<activation::gelu_tanh>},
          {"linear_after silu", linear_after<activation::silu>}};
}

}  // namespace troupe::tests
