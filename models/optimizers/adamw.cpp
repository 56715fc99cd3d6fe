#include "models/optimizers/rules.hpp"

namespace troupe {

namespace {

/// Loshchilov and Hutter 2019, arXiv:1711.05101.
class adamw : public optimizer {
 public:
  explicit adamw(const optimizer_settings& settings) : settings_(settings) {}

  std::vector<std::string> state_names(const parameter&) const override { return {"exp_avg", "exp_avg_sq"}; }

  void update(stream& on, const parameter& which, const update_options& options, const tensor& gradient, tensor& value,
              std::span<tensor> state) const override {
    const tensor value_out = writable(on, value);
    const tensor first_out = writable(on, state[0]);
    const tensor second_out = writable(on, state[1]);
    on.adamw({.learning_rate = options.learning_rate,
              .beta1 = settings_.beta1,
              .beta2 = settings_.beta2,
              .epsilon = settings_.epsilon,
              .weight_decay = decay_of(settings_, which),
              .step = options.step,
              .gradient_scale = options.gradient_scale},
             gradient, value, state[0], state[1], value_out, first_out, second_out);
    value = value_out;
    state[0] = first_out;
    state[1] = second_out;
  }

 private:
  optimizer_settings settings_;
};

}  // namespace

std::unique_ptr<optimizer> make_adamw(const optimizer_settings& settings) {
  return std::make_unique<adamw>(settings);
}

}  // namespace troupe
