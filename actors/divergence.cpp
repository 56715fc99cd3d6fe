#include "actors/divergence.hpp"

#include <cmath>

#include <fmt/format.h>

namespace troupe {

namespace {

std::string_view in_words(double not_finite) { return std::isnan(not_finite) ? "not a number" : "infinite"; }

}  // namespace

std::optional<std::string> divergence_in(const step_report& report) {
  const auto where = fmt::format("at step {}, with a learning rate of {:.2e}", report.step, report.learning_rate);
  if (!std::isfinite(report.loss))
    return fmt::format("training diverged: the loss{} is {} {}",
                       report.diverged_lane ? fmt::format(" of lane {}", *report.diverged_lane) : "",
                       in_words(report.loss), where);
  if (!std::isfinite(report.gradient_norm))
    return fmt::format("training diverged: the gradient's norm is {} {}", in_words(report.gradient_norm), where);
  return {};
}

std::optional<std::string> divergence_in(const evaluation_report& report) {
  // A validation loss that is not a number says that there is no validation split.
  const auto loss = std::isinf(report.validation_loss) ? report.validation_loss : report.train_loss;
  if (std::isfinite(loss))
    return {};
  return fmt::format("training diverged: the evaluation's loss is {} at step {}", in_words(loss), report.step);
}

std::string help_against_divergence(const job_settings& settings) {
  std::string help = "lower optimizer.learning_rate";
  if (settings.training.clip == 0.0)
    help += ", clip gradients (training.clip=1)";
  if (settings.schedule.warmup_steps == 0)
    help += ", warm up (schedule.warmup_steps)";
  return help;
}

}  // namespace troupe
