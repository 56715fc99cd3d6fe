#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>

#include <fmt/format.h>

#include "cli/argument_checks.hpp"
#include "cli/command.hpp"
#include "cli/dry_run.hpp"
#include "cli/hosted_cluster.hpp"
#include "cli/memory_check.hpp"
#include "cli/progress.hpp"
#include "cli/reporter.hpp"
#include "cli/resume_check.hpp"
#include "cli/run_directory.hpp"
#include "cli/run_file.hpp"
#include "cli/run_history.hpp"
#include "cli/saved_model.hpp"
#include "cli/signals.hpp"
#include "models/data/dataset.hpp"
#include "runtime/cluster/node_resources.hpp"
#include "runtime/error.hpp"
#include "runtime/tensor/cpu/peak.hpp"
#include "runtime/tensor/device_module.hpp"

namespace troupe {

namespace {

constexpr std::uint32_t nodes_max = 256;  // of one machine: more is a slip of the hand

struct train_options {
  run_request request;
  cluster_request cluster;
  bool resume = false;
  bool force = false;
  bool dry_run = false;
  bool ignore_memory = false;
  bool json = false;
  bool quiet = false;

  run_directory_mode mode() const {
    return resume ? run_directory_mode::resume : force ? run_directory_mode::force : run_directory_mode::fresh;
  }
};

/// The run's data. A resumed run must find the data it was trained on; one that began with an import, which was trained
/// on no data that is known, reads its own with the import's tokenizer.
std::shared_ptr<const dataset> open_data(const run_file& run, console& people, const cut_manifest* resumed) {
  constexpr std::chrono::seconds told_every{2};
  auto told = std::chrono::steady_clock::now();
  const auto progress = [&](double fraction) {
    const auto now = std::chrono::steady_clock::now();
    if (now - told < told_every)
      return;
    told = now;
    people.say(fmt::format("tokenising {} | {:.0f} %", run.data.path, fraction * 100.0));
  };
  const auto open = [&](std::shared_ptr<const tokenizer> given) {
    return open_dataset(run.data, run.model.context, progress, std::move(given));
  };
  if (!resumed)
    return open({});
  const auto tokens = tokenizer_of(*resumed);
  const auto known = fingerprint_of(*resumed);
  if (known.empty())
    return open(tokens);
  if (const auto data = open({}); data->fingerprint() == known)
    return data;
  try {
    if (const auto data = open(tokens); data->fingerprint() == known)
      return data;
  } catch (const input_error&) {
    // The tokenizer does not know such text: it is other data all the more.
  }
  throw input_error(fmt::format("{}: this is not the data that the run was trained on\nhelp: start a new run; `troupe "
                                "export` and `troupe import` take the model along",
                                run.data.path));
}

void resolve_vocabulary(transformer_settings& model, const dataset& data) {
  if (model.vocabulary == 0)
    model.vocabulary = data.vocabulary();
  if (model.vocabulary < data.vocabulary())
    throw usage_error(fmt::format("'model.vocabulary' = {} is too small: the data has {} tokens\nhelp: leave it out, "
                                  "or round the number up",
                                  model.vocabulary, data.vocabulary()));
}

/// Of the newest cut that can be read; run_job finds out whether its tensors are good.
std::optional<cut_manifest> newest_manifest(const run_directory& directory) {
  const checkpoint_store store(directory.checkpoints(), {});
  const auto steps = store.steps();
  for (auto step = steps.rbegin(); step != steps.rend(); ++step)
    try {
      return read_manifest(store.path_of(*step));
    } catch (const input_error&) {
      // The one before, then.
    }
  return {};
}

/// Of this machine, where the run stays on it; 0: who will join, and with what, is not known yet.
int computing_cores(const train_options& options) {
  return options.cluster.listen.empty() ? std::max(1, static_cast<int>(std::lround(this_node().cores))) : 0;
}

/// The GPUs of this machine that compute: none where others do, or the processor.
std::vector<int> computing_gpus(const run_file& run, int cores) {
  const auto& device = run.job.runtime.device;
  return cores > 0 && is_cuda(device) ? find_cuda(device) : std::vector<int>{};
}

/// Floating-point operations a second of what computes; 0: unknown.
double peak_flops(const run_file& run, int cores) {
  double flops = 0.0;
  for (const int gpu : computing_gpus(run, cores))
    flops += cuda_module().rates(gpu).matrix_flops;
  if (cores == 0 || is_cuda(run.job.runtime.device))
    return flops;
  return measure_fma_peak(std::min(cores, static_cast<int>(run.job.training.lanes) * run.job.runtime.threads));
}

/// Of the run's GPUs, together; empty where there are none that could tell.
std::function<std::optional<double>()> energy_meter(const run_file& run, int cores) {
  const auto gpus = computing_gpus(run, cores);
  if (gpus.empty())
    return {};
  return [gpus] {
    std::optional<double> joules = 0.0;
    for (const int gpu : gpus)
      if (const auto own = cuda_module().facts(gpu).energy_joules; own && joules)
        *joules += *own;
      else
        joules.reset();
    return joules;
  };
}

/// What is asked of nodes makes no sense where there are none.
void refuse_nodes(const train_options& options, const run_file& run) {
  constexpr auto help = "--nodes N starts processes of this machine, --listen ADDRESS:PORT lets nodes join from elsewhere";
  if (options.cluster.min_nodes > 0)
    throw usage_error(fmt::format("--min-nodes {}: this run has no nodes to wait for\nhelp: {}", options.cluster.min_nodes,
                                  help));
  for (const auto& kill : run.job.chaos.kills)
    if (kill.actor.starts_with("node/"))
      throw usage_error(fmt::format("fault injection is to kill {}, and this run has no nodes\nhelp: {}", kill.actor, help));
}

/// Nothing where it is not this machine's memory that counts: other machines are asked when they join.
std::optional<std::string> shortage_of_memory(const train_options& options, const run_file& run, const model& of) {
  if (!options.cluster.listen.empty() || is_cuda(run.job.runtime.device))
    return {};
  return memory_shortage(predict_memory(of, run.job, run.model.context), this_node().memory_bytes);
}

/// Imports hold no state of an optimizer, and no data was trained on.
void check_resume(const cut_manifest& resumed, const run_directory& directory, const run_file& run, console& people) {
  const auto before = run_file_of(resumed, directory.path());
  require_same_model(before.model, run.model);
  if (resumed.step > run.job.training.steps)
    people.warn(fmt::format("warning: the run is at step {} already: with training.steps = {} there is nothing to do",
                            resumed.step, run.job.training.steps));
  if (fingerprint_of(resumed).empty())
    return;
  for (const auto& warning : check_resumed(before, run))
    people.warn("warning: " + warning);
}

exit_code train(const train_options& options) {
  // A cluster's head is one of several processes whose logs are read together, unless somebody looks on.
  const bool logs = options.cluster.wanted() && isatty(STDERR_FILENO) == 0;
  console people(stderr, options.quiet, logs ? console::style::log : console::style::people);
  people.set_node(head_node);
  config::diagnostics report;
  auto request = options.request;
  request.cores = computing_cores(options);
  auto run = load_run_file(request, report);
  for (const auto& warning : report.warnings())
    people.warn(to_string(warning));
  if (!options.cluster.wanted())
    refuse_nodes(options, run);
  std::optional<hosted_cluster> cluster;
  if (options.cluster.wanted() && !options.dry_run)
    cluster.emplace(options.cluster, people);
  const bool dry = options.dry_run && !options.resume;
  std::optional<run_directory> directory;
  if (!dry)
    directory.emplace(run.directory, options.mode());
  const auto resumed = options.resume ? newest_manifest(*directory) : std::nullopt;
  if (resumed)
    check_resume(*resumed, *directory, run, people);
  const auto data = open_data(run, people, resumed ? &*resumed : nullptr);
  resolve_vocabulary(run.model, *data);
  if (!data->warning().empty())
    people.warn("warning: " + data->warning());
  const auto model = std::make_shared<const troupe::model>(make_transformer(run.model));
  if (const auto shortage = shortage_of_memory(options, run, *model)) {
    if (!options.dry_run && !options.ignore_memory)
      throw usage_error(*shortage + "; --ignore-memory starts it regardless");
    people.warn("warning: " + *shortage);
  }
  if (options.dry_run) {
    const auto plan = plan_run(run, data);
    fmt::print("{}\n", options.json ? to_json(plan).dump() : to_string(plan));
    return exit_code::done;
  }

  directory->open(print_run_file(run, true));
  if (!cluster)
    std::filesystem::remove(cluster_file::path_in(directory->path()));  // of a head that was killed
  if (options.resume && checkpoint_store(directory->checkpoints(), {}).steps().empty())
    people.say("no cut was saved yet: starting from the beginning");
  people.say(data->summary());
  people.say(fmt::format("{} | {} parameters | {}{}", run.name,
                         format_quantity(static_cast<double>(model->parameters().count())),
                         directory->path().string(),
                         resumed ? fmt::format(" | newest cut at step {}, to be verified", resumed->step) : ""));

  const auto before = resumed ? read_history(directory->metrics(), resumed->step) : run_history{};
  reporter told(people, *directory,
                {.steps = run.job.training.steps,
                 .flops_per_token = flops_per_token(run.model),
                 .peak_flops = peak_flops(run, request.cores),
                 .json = options.json,
                 .before = before,
                 .energy_joules = energy_meter(run, request.cores)});
  const job_inputs inputs{.model = model,
                          .data = data,
                          .context = run.model.context,
                          .checkpoints = directory->checkpoints(),
                          .documents = make_documents(run, data->tokens().get()),
                          .resume = options.resume,
                          .evaluated = before.last_evaluation ? std::optional(before.last_evaluation->step) : std::nullopt};
  interruption signals(logs ? "" : "interrupted: saving a cut and leaving");
  try {
    if (cluster)
      signals.remove_when_aborted(cluster_file::path_in(directory->path()));
    if (cluster)
      cluster->open(*directory, [&told](const log_line& line) { told.on_cluster(line); });
    const auto summary =
        run_job(inputs, run.job, told.observer(), &signals.request(), cluster ? &cluster->job() : nullptr);
    cluster.reset();  // whoever comes after the summary finds nothing running any more
    told.finish(summary);
    if (summary.interrupted && signals.by_lost_reader()) {
      write_anyway(stderr, "error: nobody reads the output any more, so the run was stopped; a cut was saved, and --resume "
                           "goes on from it\n");
      return exit_code::system;
    }
    return summary.interrupted ? exit_code::interrupted : exit_code::done;
  } catch (const std::exception& fault) {
    cluster.reset();
    told.fail(failure_json(fault.what()));
    if (signals.by_lost_reader() && !told.has_steps() && dynamic_cast<const job_failed*>(&fault))  // it had not begun
      throw system_error(fmt::format("nobody reads the output any more: {}", fault.what()));
    throw;
  }
}

/// With --json whoever reads stdout finds `failure` at its end, also where nothing began.
exit_code train_and_tell(const train_options& options) {
  try {
    return train(options);
  } catch (const std::exception& fault) {
    if (options.json)
      tell_machine(failure_json(fault.what()));
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
  command->add_flag("--ignore-memory", options->ignore_memory,
                    "start although this machine has less memory than the run is predicted to need");
  command->add_flag("--json", options->json, "JSON lines on stdout, the run's summary last");
  command->add_option("--chaos", options->request.chaos,
                      "make actors fail: ACTOR@STEP, such as shard/0@120, ends one; with :exception behind it one leaves "
                      "its handler, with :wedge that never returns; random:PROBABILITY[:SEED]; several with commas")
    ->allow_extra_args(false);
  command->add_option("--nodes", options->cluster.nodes, "run on this many processes of this machine, started for it")
    ->transform(argument::whole(1, nodes_max));
  command->add_option("--replace-after", options->cluster.replace_after,
                      "seconds until a process of --nodes that died is replaced")
    ->check(argument::from_to(0, 3600))
    ->capture_default_str();
  auto* listen = command->add_option("--listen", options->cluster.listen,
                                     "ADDRESS:PORT where `troupe node --join` finds this run; without a port that of MASTER_PORT, "
                                     "or 29500");
  command->add_option("--min-nodes", options->cluster.min_nodes,
                      "nodes to wait for before the first step; default: as many as --nodes; else, with --listen, as "
                      "many as torchrun's or Slurm's variables say, at least one")
    ->transform(argument::whole(1, 65536));
  command->add_option("--wait-for-nodes", options->cluster.wait_for_nodes,
                      "seconds to wait for nodes: for the first, for any when all are gone, for one that has room")
    ->check(argument::from_to(0, 86400))
    ->capture_default_str();
  command->add_option("--recover-within", options->cluster.recover_within,
                      "with --resume: seconds to wait for nodes that hold a later cut in memory than the disk has")
    ->check(argument::from_to(0, 3600))
    ->capture_default_str();
  options->cluster.access.add_to(*command);
  command->add_flag("--insecure", options->cluster.access.insecure, "listen beyond this machine without TLS");
  command->add_option("--advertise", options->cluster.advertise, "host under which nodes reach this process")
    ->needs(listen);
  command->add_option("--run-dir", options->request.directory,
                      "where the run is kept; default: the folder whose config.toml RUN.toml is, else runs/NAME");
  command->add_flag("--quiet", options->quiet, "no progress");
  command->callback([&chosen, options] { chosen = [options] { return train_and_tell(*options); }; });
}

}  // namespace troupe
