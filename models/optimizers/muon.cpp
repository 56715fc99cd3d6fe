#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "models/optimizers/rules.hpp"

namespace troupe {

namespace {

/// Replaces the singular values of x[M, N] by values near 1: five steps of a quintic Newton-Schulz iteration on
/// x / |x|, with the coefficients of Jordan et al. 2024. The Gram matrix is of the shorter side.
tensor orthogonalised(stream& on, tensor x) {
  constexpr int steps = 5;
  constexpr double a = 3.4445, b = -4.7750, c = 2.0315;
  constexpr double least_norm = 1e-7;
  const tensor square_sum = on.allocate(dtype::float64, {});
  on.sum_of_squares(x, square_sum);
  on.scale_to_unit(x, square_sum, least_norm, x);

  const std::int64_t rows = x.shape()[0], columns = x.shape()[1];
  const bool tall = rows > columns;
  const std::int64_t side = std::min(rows, columns);
  const tensor gram = on.allocate(x.type(), {side, side});
  const tensor polynomial = on.allocate(x.type(), {side, side});
  tensor next = on.allocate(x.type(), x.shape());
  for (int step = 0; step < steps; ++step) {
    on.matmul(x, x, gram, {.transpose_a = tall, .transpose_b = !tall});
    on.matmul(gram, gram, polynomial, {.alpha = c});
    on.scaled_add(b, gram, 1.0, polynomial, polynomial);
    if (tall)
      on.matmul(x, polynomial, next);
    else
      on.matmul(polynomial, x, next);
    on.scaled_add(a, x, 1.0, next, next);
    std::swap(x, next);
  }
  return x;
}

/// Muon on matrices (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks",
/// https://kellerjordan.github.io/posts/muon), AdamW on everything else. Updates are scaled by
/// 0.2 * sqrt(max(rows, columns)) so that both move elements equally far and share one learning rate and weight decay
/// (Liu et al. 2025, arXiv:2502.16982).
class muon : public optimizer {
 public:
  explicit muon(const optimizer_settings& settings)
      : settings_(settings),
        momentum_(settings.momentum == 0.0 ? 0.95 : settings.momentum),
        others_(make_adamw(settings)) {}

  std::vector<std::string> state_names(const parameter& which) const override {
    return is_matrix(which) ? std::vector<std::string>{"momentum"} : others_->state_names(which);
  }

  void update(stream& on, const parameter& which, const update_options& options, const tensor& gradient, tensor& value,
              std::span<tensor> state) const override {
    if (!is_matrix(which))
      return others_->update(on, which, options, gradient, value, state);
    const tensor moment = writable(on, state[0]);
    on.scaled_add(momentum_, state[0], options.gradient_scale, gradient, moment);
    state[0] = moment;

    const tensor direction = on.allocate(moment.type(), which.extents);
    if (settings_.nesterov)
      on.scaled_add(momentum_, moment, options.gradient_scale, gradient, direction);
    else
      on.copy(moment, direction);
    const tensor step = orthogonalised(on, direction);

    const auto longest = static_cast<double>(std::max(which.extents[0], which.extents[1]));
    const double rate = options.learning_rate * 0.2 * std::sqrt(longest);
    const tensor value_out = writable(on, value);
    on.scaled_add(1.0 - options.learning_rate * decay_of(settings_, which), value, -rate,
                  step.reshaped(value.shape()), value_out);
    value = value_out;
  }

  void update_all(stream& on, const update_options& options, std::span<const parameter_update> all) const override {
    std::vector<parameter_update> others;
    for (const parameter_update& each : all)
      if (is_matrix(each.which))
        update(on, each.which, options, each.gradient, each.value, each.state);
      else
        others.push_back(each);
    others_->update_all(on, options, others);
  }

 private:
  optimizer_settings settings_;
  double momentum_;
  std::unique_ptr<optimizer> others_;

  static bool is_matrix(const parameter& which) {
    return which.kind == parameter_kind::matrix && which.extents.rank() == 2;
  }
};

}  // namespace

std::unique_ptr<optimizer> make_muon(const optimizer_settings& settings) {
  return std::make_unique<muon>(settings);
}

}  // namespace troupe
