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
  std::uint64_t batches = 0;  ///< 0: every sample once
  std::int64_t batch = 0;     ///< 0: as in training
  compute_options compute;
  bool json = false;
};

/// Validates on what the run was trained on, or on all of another text.
std::shared_ptr<const dataset> open_evaluation_data(const saved_model& saved, const std::string& other) {
  auto settings = saved.run.data;
  if (other.empty() && settings.path.empty())
    throw usage_error(fmt::format("{}: an import brings no text along\nhelp: name one with --data FILE",
                                  saved.from.path.string()));
  if (other.empty())
    return open_dataset(settings, saved.run.model.context, {}, saved.tokens);
  settings.path = other;
  settings.source = data_settings::source_kind::automatic;
  return open_whole_dataset(settings, saved.run.model.context, saved.tokens);
}

exit_code evaluate(const eval_options& options) {
  console people(stderr, false);
  const auto saved =
    load_saved_model(options.path, [&](const std::string& message) { people.warn("warning: " + message); });
  const auto text = open_evaluation_data(saved, options.data);
  if (!text->warning().empty())
    people.warn("warning: " + text->warning());
  if (text->vocabulary() > saved.run.model.vocabulary)
    throw input_error(fmt::format("{}: has {} tokens, but the model knows {}", saved.run.data.path, text->vocabulary(),
                                  saved.run.model.vocabulary));
  const auto context = saved.run.model.context;
  const auto windows = static_cast<std::uint64_t>(text->sample_count(split::validation, context));
  if (windows == 0)
    throw input_error(fmt::format("{}: there is no validation split; name a text with --data", saved.run.data.path));
  const auto rows = options.batch > 0 ? options.batch : saved.run.job.training.batch;
  const auto samples = options.batches > 0 ? options.batches * static_cast<std::uint64_t>(rows) : windows;

  const auto on = open_stream(options.compute);
  const auto parameters = saved.parameters_on(*on);
  loss_measurement measured(*saved.model, *on, parameters, *text, split::validation, saved.run.job.training.seed,
                            samples, rows, context);
  while (!measured.done())
    measured.measure_batch();
  const auto loss = measured.mean();
  const auto tokens = measured.targets();
  if (options.json)
    fmt::print("{}\n", nlohmann::json{{"kind", "evaluation"},
                                      {"step", saved.from.manifest.step},
                                      {"loss", loss},
                                      {"perplexity", std::exp(loss)},
                                      {"tokens", tokens},
                                      {"data", text->summary()}}
                         .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
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
  command->add_option("--batches", options->batches, "so many, as training evaluates; default: every sample once")
    ->transform(argument::whole(1, evaluation_extent_max));
  command->add_option("--batch", options->batch, "sequences in each; default: as in training")
    ->transform(argument::whole(1, evaluation_extent_max));
  add_compute_options(*command, options->compute);
  command->add_flag("--json", options->json, "one JSON object");
  command->callback([&chosen, options] { chosen = [options] { return evaluate(*options); }; });
}

}  // namespace troupe
