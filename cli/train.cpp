#include <chrono>
#include <memory>
#include <thread>

#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/dry_run.hpp"
#include "cli/progress.hpp"
#include "cli/reporter.hpp"
#include "cli/run_directory.hpp"
#include "cli/run_file.hpp"
#include "cli/signals.hpp"
#include "models/data/dataset.hpp"
#include "runtime/error.hpp"
#include "runtime/tensor/cpu/peak.hpp"

namespace troupe {

namespace {

struct train_options {
  run_request request;
  std::string run_dir;
  bool resume = false;
  bool force = false;
  bool dry_run = false;
  bool json = false;
  bool quiet = false;

  run_directory_mode mode() const {
    return resume ? run_directory_mode::resume : force ? run_directory_mode::force : run_directory_mode::fresh;
  }
};

std::shared_ptr<const dataset> open_data(run_file& run, console& people) {
  constexpr std::chrono::seconds told_every{2};
  auto told = std::chrono::steady_clock::now();
  const auto data = open_dataset(run.data, run.model.context, [&](double fraction) {
    const auto now = std::chrono::steady_clock::now();
    if (now - told < told_every)
      return;
    told = now;
    people.say(fmt::format("tokenising {} | {:.0f} %", run.data.path, fraction * 100.0));
  });
  auto& vocabulary = run.model.vocabulary;
  if (vocabulary == 0)
    vocabulary = data->vocabulary();
  if (vocabulary < data->vocabulary())
    throw usage_error(fmt::format("'model.vocabulary' = {} is too small: the data has {} tokens\nhelp: leave it out, "
                                  "or round the number up",
                                  vocabulary, data->vocabulary()));
  return data;
}

/// What a cut keeps beside the tensors, so that it can be used without the run file and the data.
std::map<std::string, std::string> make_documents(const run_file& run, const dataset& data) {
  std::map<std::string, std::string> documents{{"run.toml", print_run_file(run)}};
  if (const auto tokens = data.tokens()) {
    documents["tokenizer.kind"] = tokens->kind();
    documents["tokenizer"] = tokens->serialize();
  }
  return documents;
}

int computing_threads(const run_file& run) {
  const auto cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return std::min(cores, static_cast<int>(run.job.training.lanes) * run.job.runtime.threads);
}

exit_code train(const train_options& options) {
  console people(stderr, options.quiet);
  config::diagnostics report;
  auto run = load_run_file(options.request, report);
  for (const auto& warning : report.warnings())
    people.warn(to_string(warning));
  if (!options.run_dir.empty())
    run.directory = options.run_dir;
  if (options.dry_run) {
    const auto data = open_data(run, people);
    const auto plan = plan_run(run, data);
    fmt::print("{}\n", options.json ? to_json(plan).dump() : to_string(plan));
    return exit_code::done;
  }

  run_directory directory(run.directory, options.mode());
  const auto data = open_data(run, people);
  const auto model = std::make_shared<const troupe::model>(make_transformer(run.model));
  directory.open(print_run_file(run, true));
  people.say(data->summary());
  people.say(fmt::format("{} | {} parameters | {}", run.name,
                         format_quantity(static_cast<double>(model->parameters().count())), directory.path().string()));

  reporter told(people, directory,
                {.steps = run.job.training.steps,
                 .flops_per_token = flops_per_token(run.model),
                 .peak_flops = measure_fma_peak(computing_threads(run)),
                 .json = options.json});
  const job_inputs inputs{.model = model,
                          .data = data,
                          .context = run.model.context,
                          .checkpoints = directory.checkpoints(),
                          .documents = make_documents(run, *data),
                          .resume = options.resume};
  const interruption signals;
  try {
    const auto summary = run_job(inputs, run.job, told.observer(), &signals.request());
    told.finish(summary);
    return summary.interrupted ? exit_code::interrupted : exit_code::done;
  } catch (const std::exception& fault) {
    told.fail(fault.what());
    throw;
  }
}

}  // namespace

void add_train(CLI::App& app, action& chosen) {
  const auto options = std::make_shared<train_options>();
  auto* command = app.add_subcommand("train", "train a model as a run file says");
  command->add_option("RUN.toml", options->request.path, "the run file; `troupe config` prints one")->required();
  command->add_option("KEY=VALUE", options->request.overrides, "put over the run file, such as training.steps=100");
  auto* resume = command->add_flag("--resume", options->resume, "go on from the run's newest good cut");
  command->add_flag("--force", options->force, "delete the run that is there and start over")->excludes(resume);
  command->add_flag("--dry-run", options->dry_run,
                    "print the resolved configuration, parameters, memory and actors; train nothing");
  command->add_flag("--json", options->json, "JSON lines on stdout, the run's summary last");
  command->add_option("--chaos", options->request.chaos,
                      "kill actors: ACTOR@STEP such as shard/0@120, or random:PROBABILITY[:SEED]; several with commas")
    ->allow_extra_args(false);
  command->add_option("--run-dir", options->run_dir, "where the run is kept; default: runs/NAME");
  command->add_flag("--quiet", options->quiet, "no progress");
  command->callback([&chosen, options] { chosen = [options] { return train(*options); }; });
}

}  // namespace troupe
