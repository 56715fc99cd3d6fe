#include "models/optimizer.hpp"

#include <stdexcept>

#include <fmt/format.h>

#include "models/optimizers/rules.hpp"

namespace troupe {

namespace {

void require(bool holds, const char* name, double found, const char* expected) {
  if (!holds)
    throw std::invalid_argument(fmt::format("optimizer.{}: found {}, expected {}", name, found, expected));
}

std::unique_ptr<optimizer> make_rule(const optimizer_settings& settings) {
  using kind = optimizer_settings::kind;
  switch (settings.algorithm) {
    case kind::sgd:
      return make_sgd(settings);
    case kind::lion:
      return make_lion(settings);
    case kind::muon:
      return make_muon(settings);
    case kind::adamw:
      break;
  }
  return make_adamw(settings);
}

}  // namespace

void optimizer::update_all(stream& on, const update_options& options, std::span<const parameter_update> all) const {
  auto mine = options;
  for (const parameter_update& each : all) {
    mine.key = each.key;
    update(on, each.which, mine, each.gradient, each.value, each.state);
  }
}

std::unique_ptr<optimizer> make_optimizer(const optimizer_settings& settings) {
  const auto is_fraction = [](double value) { return value >= 0.0 && value < 1.0; };
  require(settings.learning_rate >= 0.0, "learning_rate", settings.learning_rate, "0 or more");
  require(is_fraction(settings.beta1), "beta1", settings.beta1, "at least 0 and less than 1");
  require(is_fraction(settings.beta2), "beta2", settings.beta2, "at least 0 and less than 1");
  require(is_fraction(settings.momentum), "momentum", settings.momentum, "at least 0 and less than 1");
  require(settings.epsilon > 0.0, "epsilon", settings.epsilon, "more than 0");
  require(settings.weight_decay >= 0.0, "weight_decay", settings.weight_decay, "0 or more");
  auto rule = make_rule(settings);
  return settings.state_type == optimizer_settings::state_kind::bfloat16 ? make_narrow(std::move(rule)) : std::move(rule);
}

}  // namespace troupe
