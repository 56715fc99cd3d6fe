#include "models/optimizers/rules.hpp"

namespace troupe {

namespace {

/// Gradient descent with heavy-ball or Nesterov momentum, as PyTorch has it.
class sgd : public optimizer {
 public:
  explicit sgd(const optimizer_settings& settings) : settings_(settings) {}

  std::vector<std::string> state_names(const parameter&) const override {
    return has_momentum() ? std::vector<std::string>{"momentum"} : std::vector<std::string>{};
  }

  void update(stream& on, const parameter& which, const update_options& options, const tensor& gradient, tensor& value,
              std::span<tensor> state) const override {
    const tensor value_out = writable(on, value);
    const tensor velocity_out = has_momentum() ? writable(on, state[0]) : tensor{};
    on.sgd({.learning_rate = options.learning_rate,
            .momentum = settings_.momentum,
            .nesterov = settings_.nesterov,
            .weight_decay = decay_of(settings_, which),
            .gradient_scale = options.gradient_scale},
           gradient, value, has_momentum() ? state[0] : tensor{}, value_out, velocity_out);
    value = value_out;
    if (has_momentum())
      state[0] = velocity_out;
  }

 private:
  optimizer_settings settings_;

  bool has_momentum() const noexcept { return settings_.momentum != 0.0; }
};

}  // namespace

std::unique_ptr<optimizer> make_sgd(const optimizer_settings& settings) {
  return std::make_unique<sgd>(settings);
}

}  // namespace troupe
