#include "models/optimizers/rules.hpp"

namespace troupe {

namespace {

/// Chen et al. 2023, arXiv:2302.06675.
class lion : public optimizer {
 public:
  explicit lion(const optimizer_settings& settings) : settings_(settings) {}

  std::vector<std::string> state_names(const parameter&) const override { return {"exp_avg"}; }

  void update(stream& on, const parameter& which, const update_options& options, const tensor& gradient, tensor& value,
              std::span<tensor> state) const override {
    const tensor value_out = writable(on, value);
    const tensor moment_out = writable(on, state[0]);
    on.lion({.learning_rate = options.learning_rate,
             .beta1 = settings_.beta1,
             .beta2 = settings_.beta2,
             .weight_decay = decay_of(settings_, which),
             .gradient_scale = options.gradient_scale},
            gradient, value, state[0], value_out, moment_out);
    value = value_out;
    state[0] = moment_out;
  }

 private:
  optimizer_settings settings_;
};

}  // namespace

std::unique_ptr<optimizer> make_lion(const optimizer_settings& settings) {
  return std::make_unique<lion>(settings);
}

}  // namespace troupe
