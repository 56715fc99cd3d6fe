#include "models/mlp.hpp"

#include <cmath>
#include <stdexcept>

#include <fmt/format.h>

#include "models/layers/hidden_layer.hpp"
#include "models/layers/softmax_head.hpp"

namespace troupe {

model make_mlp(const mlp_settings& settings) {
  const auto require_positive = [](std::int64_t value, const char* name) {
    if (value <= 0)
      throw std::invalid_argument(fmt::format("model.{}: found {}, expected a positive number", name, value));
  };
  require_positive(settings.inputs, "inputs");
  require_positive(settings.classes, "classes");
  if (settings.hidden.empty())
    throw std::invalid_argument("model.hidden: found no layer, expected at least one");
  std::vector<model::named_layer> blocks;
  std::int64_t inputs = settings.inputs;
  for (const std::int64_t outputs : settings.hidden) {
    require_positive(outputs, "hidden");
    const linear_settings weights{.inputs = inputs,
                                  .outputs = outputs,
                                  .bias = true,
                                  .start = initializer::normal(std::sqrt(2.0 / static_cast<double>(inputs)))};
    blocks.push_back({fmt::format("blocks.{}", blocks.size()),
                      std::make_unique<hidden_layer>(weights, settings.nonlinearity)});
    inputs = outputs;
  }
  blocks.push_back({"head", std::make_unique<softmax_head>(softmax_head_settings{
                                .channels = inputs,
                                .classes = settings.classes,
                                .normalisation = {},
                                .tied_to = {},
                                .start = initializer::normal(1.0 / std::sqrt(static_cast<double>(inputs)))})});
  return model(std::move(blocks));
}

}  // namespace troupe
