#include "models/optimizers/rules.hpp"

namespace troupe {

namespace {

/// Any rule over state that is widened for each update and rounded stochastically after it.
class narrow : public optimizer {
 public:
  explicit narrow(std::unique_ptr<optimizer> rule) : rule_(std::move(rule)) {}

  std::vector<std::string> state_names(const parameter& which) const override { return rule_->state_names(which); }
  dtype state_type(const stream&) const override { return dtype::bfloat16; }

  void update(stream& on, const parameter& which, const update_options& options, const tensor& gradient, tensor& value,
              std::span<tensor> state) const override {
    std::vector<tensor> wide;
    for (const tensor& each : state) {
      wide.push_back(on.allocate(on.accumulation_type(), each.shape()));
      on.cast(each, wide.back());
    }
    rule_->update(on, which, options, gradient, value, wide);
    for (std::size_t i = 0; i < state.size(); ++i) {
      const tensor out = writable(on, state[i]);
      on.round_stochastic(options.key.fold(i), wide[i], out);
      state[i] = out;
    }
  }

 private:
  std::unique_ptr<optimizer> rule_;
};

}  // namespace

std::unique_ptr<optimizer> make_narrow(std::unique_ptr<optimizer> rule) {
  return std::make_unique<narrow>(std::move(rule));
}

}  // namespace troupe
