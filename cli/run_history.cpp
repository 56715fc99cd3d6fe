#include "cli/run_history.hpp"

#include <cmath>
#include <fstream>
#include <map>
#include <string>

#include <nlohmann/json.hpp>

namespace troupe {

namespace {

using nlohmann::json;

/// A number that is not finite is written as null.
double number(const json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_number() ? found->get<double>() : std::numeric_limits<double>::quiet_NaN();
}

evaluation_report evaluation_of(const json& line, std::uint64_t step) {
  return {step, number(line, "train_loss"), number(line, "validation_loss"), number(line, "seconds")};
}

}  // namespace

run_history read_history(const std::filesystem::path& metrics, std::uint64_t step) {
  std::map<std::uint64_t, double> losses;
  std::map<std::uint64_t, evaluation_report> evaluations;
  run_history history;
  std::ifstream file(metrics);
  for (std::string text; std::getline(file, text);) {
    const auto line = json::parse(text, nullptr, false);
    if (!line.is_object())
      continue;
    const auto at = line.find("step");
    const auto kind = line.find("kind");
    if (at == line.end() || !at->is_number_unsigned() || kind == line.end() || at->get<std::uint64_t>() > step)
      continue;
    if (*kind == "step")
      losses[*at] = number(line, "loss");
    else if (*kind == "evaluation")
      evaluations[*at] = evaluation_of(line, *at);
    else if (*kind == "cut" && line.contains("path") && line["path"].is_string())
      history.last_cut = line["path"].get<std::string>();
  }
  for (const auto& [ignored, loss] : losses)
    history.best_loss = std::fmin(history.best_loss, loss);
  if (!losses.empty())
    history.last_loss = losses.rbegin()->second;
  for (const auto& [ignored, report] : evaluations) {
    history.last_evaluation = report;
    if (is_better(report, history.best_evaluation))
      history.best_evaluation = report;
  }
  return history;
}

void run_history::complete(job_summary& summary) const {
  if (summary.steps == summary.first_step)
    summary.last_loss = last_loss.value_or(summary.last_loss);
  if (!summary.last_evaluation)
    summary.last_evaluation = last_evaluation;
  if (best_evaluation && !(summary.best_evaluation && is_better(*summary.best_evaluation, best_evaluation)))
    summary.best_evaluation = best_evaluation;
  if (summary.last_cut.empty())
    summary.last_cut = last_cut;
}

}  // namespace troupe
