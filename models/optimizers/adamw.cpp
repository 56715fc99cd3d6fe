#include <utility>
#include <vector>

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
    const parameter_update one{which, gradient, value, state};
    update_all(on, options, {&one, 1});
  }

  void update_all(stream& on, const update_options& options, std::span<const parameter_update> all) const override {
    std::vector<adamw_tensors> tensors;
    for (const parameter_update& each : all) {
      // First: `writable` asks who holds what stands there now.
      const tensor value_out = writable(on, each.value);
      const tensor first_out = writable(on, each.state[0]), second_out = writable(on, each.state[1]);
      tensors.push_back({decay_of(settings_, each.which), each.gradient, each.value, each.state[0], each.state[1],
                         value_out, first_out, second_out});
    }
    on.adamw_all({.learning_rate = options.learning_rate,
                  .beta1 = settings_.beta1,
                  .beta2 = settings_.beta2,
                  .epsilon = settings_.epsilon,
                  .step = options.step,
                  .gradient_scale = options.gradient_scale},
                 tensors);
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i].value = std::move(tensors[i].parameter_out);
      all[i].state[0] = std::move(tensors[i].first_moment_out);
      all[i].state[1] = std::move(tensors[i].second_moment_out);
    }
  }

 private:
  optimizer_settings settings_;
};

}  // namespace

std::unique_ptr<optimizer> make_adamw(const optimizer_settings& settings) {
  return std::make_unique<adamw>(settings);
}

}  // namespace troupe
