#include <algorithm>

#include "kernel_case.hpp"

namespace troupe::tests {

namespace {

/// Arguments of both normalisations: what is optional is there or not, outputs in place or not.
struct norm_arguments {
  slot x, delta, weight, residual, y;
  double epsilon;

  norm_arguments(kernel_case& k, dice& roll, const shape& rows) {
    // Of two elements nothing but their order would be left, and no gradient to compare.
    epsilon = rows.back() == 2 ? 1.0 : 1e-5;
    x = k.input(rows);
    delta = roll.coin() ? k.constant(rows) : slot();
    weight = k.parameter({rows.back()});
    residual = delta || roll.coin() ? k.output(rows) : slot();
    y = k.output(rows);
    if (delta && roll.coin())
      k.share(residual, x);
    if (roll.coin())
      k.share_gradient(x, residual && roll.coin() ? residual : y);
    for (double& value : k[x].values)
      value = static_cast<float>(0.5 + 2 * value);
  }

  /// Without a delta the residual stream is x itself.
  void pass_by(stream& s, const tensors& t) const {
    if (residual && !delta)
      s.copy(t[x], t[residual]);
  }
  const tensor& normalized(const tensors& t) const { return residual ? t[residual] : t[x]; }
  tensor residual_out(const tensors& t) const { return delta ? t[residual] : tensor(); }
};

shape random_rows(dice& roll) {
  const auto rows = roll.coin() ? roll.extent() : roll.long_extent();
  return {rows, std::max<std::int64_t>(roll.extent(), 2)};
}

}  // namespace

kernel_case layer_norm(dice& roll, const shape& rows) {
  kernel_case k(roll);
  const norm_arguments n(k, roll, rows);
  const slot bias = roll.coin() ? k.parameter({rows.back()}) : slot();
  const slot mean = k.saved({rows[0]}), rstd = k.saved({rows[0]});
  k.forward = [=](stream& s, const tensors& t) {
    n.pass_by(s, t);
    s.layer_norm_forward(t[n.x], t[n.delta], t[n.weight], t[bias], n.epsilon, n.residual_out(t), t[n.y], t[mean],
                         t[rstd]);
  };
  k.backward = [=](stream& s, const tensors& t, const tensors& d) {
    s.layer_norm_backward(d[n.y], n.normalized(t), t[n.weight], t[mean], t[rstd], d[n.residual], d[n.x],
                          d[n.weight], d[bias]);
  };
  return k;
}

kernel_case rms_norm(dice& roll, const shape& rows) {
  kernel_case k(roll);
  const norm_arguments n(k, roll, rows);
  const slot rstd = k.saved({rows[0]});
  k.forward = [=](stream& s, const tensors& t) {
    n.pass_by(s, t);
    s.rms_norm_forward(t[n.x], t[n.delta], t[n.weight], n.epsilon, n.residual_out(t), t[n.y], t[rstd]);
  };
  k.backward = [=](stream& s, const tensors& t, const tensors& d) {
    s.rms_norm_backward(d[n.y], n.normalized(t), t[n.weight], t[rstd], d[n.residual], d[n.x], d[n.weight]);
  };
  return k;
}

std::vector<named_kernel> normalization_kernels() {
  return {{"layer_norm", [](dice& roll) { return layer_norm(roll, random_rows(roll)); }},
          {"rms_norm", [](dice& roll) { return rms_norm(roll, random_rows(roll)); }}};
}

}  // namespace troupe::tests
