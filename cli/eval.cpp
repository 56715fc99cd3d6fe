#include <algorithm>
#include <cmath>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/argument_checks.hpp"
#include "cli/command.hpp"
#include "cli/compute_options.hpp"
#include "cli/progress.hpp"
#include "cli/saved_model.hpp"
#include "models/evaluation.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

struct eval_options {
  std::string path;
  std::string data;
  std::uint64_t batches = 0;  ///< 0: every window once
  std::int64_t batch = 0;     ///< 0: as in training
  compute_options compute;
  bool json = false;
};

struct evaluation_data {
  std::shared_ptr<const dataset> text;
  split part = split::validation;
};

/// The validation split of what the run was trained on, or all of another text.
evaluation_data open_evaluation_data(const saved_model& saved, const std::string& other) {
  auto settings = saved.run.data;
  if (other.empty() && settings.path.empty())
    throw usage_error(fmt::format("{}: an import brings no text along\nhelp: name one with --data FILE",
                                  saved.from.path.string()));
  if (other.empty())
    return {open_dataset(settings, saved.run.model.context, {}, saved.tokens), split::validation};
  settings.path = other;
  settings.source = data_settings::source_kind::automatic;
  settings.validation_fraction = 0.0;
  settings.order = data_settings::order_kind::without_replacement;
  return {open_dataset(settings, saved.run.model.context, {}, saved.tokens), split::train};
}

exit_code evaluate(const eval_options& options) {
  console people(stderr, false);
  const auto saved =
    load_saved_model(options.path, [&](const std::string& message) { people.warn("warning: " + message); });
  const auto [text, part] = open_evaluation_data(saved, options.data);
  if (!text->warning().empty())
    people.warn("warning: " + text->warning());
  if (text->vocabulary() > saved.run.model.vocabulary)
    throw input_error(fmt::format("{}: has {} tokens, but the model knows {}", saved.run.data.path, text->vocabulary(),
                                  saved.run.model.vocabulary));
  const auto context = saved.run.model.context;
  const auto windows = text->sample_count(part, context);
  if (windows == 0)
    throw input_error(fmt::format("{}: there is no validation split; name a text with --data", saved.run.data.path));
  const auto rows = std::min(windows, options.batch > 0 ? options.batch : saved.run.job.training.batch);
  const auto batches = options.batches > 0 ? options.batches : static_cast<std::uint64_t>(windows / rows);

  const auto on = open_stream(options.compute);
  const auto parameters = saved.parameters_on(*on);
  const auto loss =
    mean_loss(*saved.model, *on, parameters, *text, part, saved.run.job.training.seed, batches, rows, context);
  const auto tokens = batches * static_cast<std::uint64_t>(rows * context);
  if (options.json)
    fmt::print("{}\n", nlohmann::json{{"kind", "evaluation"},
                                      {"step", saved.from.manifest.step},
                                      {"loss", loss},
                                      {"perplexity", std::exp(loss)},
                                      {"tokens", tokens},
                                      {"data", text->summary()}}
                         .dump());
  else
    fmt::print("{}\nstep {} | loss {:.4f} | perplexity {:.2f} | {} tokens\n", text->summary(), saved.from.manifest.step,
               loss, std::exp(loss), format_quantity(static_cast<double>(tokens)));
  return exit_code::done;
}

}  // namespace

void add_eval(CLI::App& app, action& chosen) {
  const auto options = std::make_shared<eval_options>();
  auto* command = app.add_subcommand("eval", "measure a trained model's loss");
  command->add_option("CHECKPOINT", options->path, "a run directory or one of its cuts")->required();
  command->add_option("--data", options->data, "text, whole; default: the validation split of the training data");
  command->add_option("--batches", options->batches, "how many; default: every sample once");
  command->add_option("--batch", options->batch, "sequences in each; default: as in training")
    ->check(at_least(1));
  add_compute_options(*command, options->compute);
  command->add_flag("--json", options->json, "one JSON object");
  command->callback([&chosen, options] { chosen = [options] { return evaluate(*options); }; });
}

}  // namespace troupe
