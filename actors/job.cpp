#include "actors/job.hpp"

#include <fmt/format.h>

#include "actors/cluster_job.hpp"
#include "actors/coordinator.hpp"
#include "actors/coordinator_watch.hpp"
#include "actors/job_journal.hpp"
#include "actors/job_nodes.hpp"
#include "actors/job_root.hpp"
#include "actors/job_status.hpp"
#include "runtime/error.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"
#include "runtime/tensor/arithmetic.hpp"
#include "runtime/tensor/device_module.hpp"

namespace troupe {

namespace {

template <class T>
void require_positive(const char* name, T value) {
  if (value < 1)
    throw input_error(fmt::format("{} = {}: expected at least 1", name, value));
}

void check(const job_inputs& inputs, const job_settings& settings) {
  if (!inputs.model || !inputs.data)
    throw input_error("a job needs a model and a dataset");
  const auto& training = settings.training;
  require_positive("the job's context", inputs.context);
  require_positive("training.steps", training.steps);
  require_positive("training.lanes", training.lanes);
  require_positive("training.accumulation", training.accumulation);
  require_positive("training.batch", training.batch);
  require_positive("runtime.threads", settings.runtime.threads);
  const auto parts = static_cast<std::int64_t>(training.lanes) * training.accumulation;
  if (training.batch % parts != 0)
    throw input_error(fmt::format("training.batch = {} is not divisible by lanes x accumulation = {} x {}; choose a "
                                  "multiple of {}",
                                  training.batch, training.lanes, training.accumulation, parts));
}

}  // namespace

job_context_ptr make_job_context(const job_inputs& inputs, const job_settings& settings, bool leads_only) {
  check(inputs, settings);
  std::vector<device*> on;
  if (!leads_only || !is_cuda(settings.runtime.device))
    on = find_devices(settings.runtime.device);
  if (!on.empty() && !on.front()->supports(settings.training.precision))
    throw input_error(fmt::format("training.precision: the device '{}' does not compute in it; choose float32",
                                  settings.runtime.device));
  job_context context{inputs,  settings, shard_layout(inputs.model->parameters(), settings.runtime.shards),
                      parse_recompute(*inputs.model, settings.training.recompute),
                      nullptr, std::make_shared<computing_devices>(std::move(on))};
  if (!leads_only)
    context.arithmetic = arithmetic_of(settings.runtime.device, settings.repeats_exactly());
  if (!inputs.checkpoints.empty())
    context.store = std::make_shared<checkpoint_store>(
        inputs.checkpoints, checkpoint_store::options{settings.checkpoint.keep, settings.checkpoint.flush});
  return std::make_shared<const job_context>(std::move(context));
}

supervisor_actor spawn_job(caf::actor_system& system, job_context_ptr context, std::shared_ptr<job_log> log,
                           const directory_actor& names, const caf::actor& listener, const job_places& places) {
  const auto& settings = context->settings.supervision;
  supervisor_options options;
  options.name = "root";
  options.intensity = settings.intensity;
  options.window = settings.window;
  options.backoff_first = settings.backoff_first;
  options.backoff_max = settings.backoff_max;
  child_spec spec;
  spec.name = "coordinator";
  spec.start = [=](caf::actor_system& sys, const child_context& child) {
    return spawn_coordinator(sys, context, log, child, listener, places);
  };
  spec.restart = restart_kind::transient;
  spec.stop_within = std::chrono::seconds{30};
  return spawn_supervisor(system, options, names, {spec});
}

namespace {

/// For actors to end, once the job has.
constexpr std::chrono::seconds wind_down{5};

/// A fresh job must not find cuts of another: a recovery would go back to them.
void check_store(const job_inputs& inputs, const job_context& context) {
  if (!context.store)
    return;
  const auto steps = context.store->steps();
  if (!inputs.resume && !steps.empty())
    throw input_error(fmt::format("{}: already holds checkpoints (the newest at step {}); resume from them, or choose "
                                  "another folder",
                                  inputs.checkpoints.string(), steps.back()));
  context.store->make_ready();
}

/// A job that fails may be in the midst of a cut. Its destructor removes what there is of one.
class unfinished_cut {
 public:
  explicit unfinished_cut(job_context_ptr context) : context_(std::move(context)) {}
  ~unfinished_cut() {
    try {
      discard_unpublished(*context_);
    } catch (const std::exception&) {
      // Whoever resumes tries again, and reports it.
    }
  }
  unfinished_cut(const unfinished_cut&) = delete;
  unfinished_cut& operator=(const unfinished_cut&) = delete;

 private:
  job_context_ptr context_;
};

}  // namespace

job_summary run_job(const job_inputs& inputs, const job_settings& settings, const job_observer& observer,
                    stop_request* stop, const job_cluster* on) {
  auto context = make_job_context(inputs, settings, on != nullptr);
  const bool has_journal = on && !on->journal.empty();
  check_store(inputs, *context);
  const auto status = std::make_shared<job_status>();
  const auto log = std::make_shared<job_log>(*context, on ? status->listen(observer) : observer);
  if (has_journal) {
    auto mine = *context;
    mine.journal = std::make_shared<job_journal>(on->journal, inputs.resume, settings.checkpoint.flush,
                                                 [&](const std::string& text) { log->warning(text); });
    context = std::make_shared<const job_context>(std::move(mine));
  }

  const unfinished_cut unfinished(context);  // outlives the actors that write
  bounded_system world{wind_down};
  auto& system = world.get();
  caf::error failure;
  {
    caf::scoped_actor self{system};
    const auto names = spawn_directory(system);
    std::optional<job_nodes> nodes;
    if (on)
      nodes.emplace(system, names, *on, context, status);
    if (nodes && !nodes->wait_for_first(stop)) {
      nodes->dismiss("the job was stopped before it began");
      throw job_failed("stopped before enough nodes had joined; nothing was trained");
    }
    if (nodes) {
      nodes->wait_for_memory(stop);
      auto mine = *context;
      mine.arithmetic = nodes->head()->board().first_to_compute().value_or(node_record{}).arithmetic;
      context = std::make_shared<const job_context>(std::move(mine));
    }
    if (context->replicated() && (!nodes || nodes->head()->board().count(node_state::ready) < 2))
      log->warning(nodes ? "runtime.replication = 2: there is one node; shards have backups as soon as another joins"
                         : "runtime.replication = 2: has no effect in one process; run on two or more (--nodes 2)");
    const auto places = nodes ? places_on(nodes->head(), context) : everybody_here(context);
    const auto root = spawn_job(system, context, log, names, self, places);
    self->monitor(root);
    coordinator_watch watch(settings.supervision.stall_after, status, on ? on->tell : nullptr);
    bool running = true, done = false;
    while (running) {
      self->receive(
          [&](const job_done&) {
            done = true;
            self->send(root, shut_down{});
          },
          [&](const caf::down_msg& down) {
            running = false;
            failure = down.reason;
          },
          caf::after(job_nodes::look_up) >> [] {});
      // Told again and again: a coordinator that is restarted has forgotten, one that knows does not mind.
      if (stop && stop->stop && !done)
        tell_by_name(self, names, "coordinator", stop_job{});
      if (stop && stop->cut.exchange(false) && !done)
        tell_by_name(self, names, "coordinator", cut_wanted{"asked for"});
      if (running && !done)
        try {
          if (nodes)
            nodes->check(stop);
          watch.look(self, names);
        } catch (...) {
          send_exit(caf::actor_cast<caf::actor>(root), caf::exit_reason::kill);
          throw;
        }
    }
    if (nodes)
      nodes->dismiss(done ? "the job is done" : "the job failed");
    if (!done) {
      if (log->divergence())
        throw training_diverged(*log->divergence());
      if (is(failure, errc::bad_input))
        throw input_error(root_cause(failure));
      if (is(log->last_failure(), errc::system_failure) || is(log->last_failure(), errc::device_lost))
        throw system_error(root_cause(failure));
      throw job_failed(root_cause(failure));
    }
  }
  return log->summary();
}

}  // namespace troupe
