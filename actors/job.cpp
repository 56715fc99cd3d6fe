#include "actors/job.hpp"


#include <fmt/format.h>

#include "actors/coordinator.hpp"
#include "actors/job_root.hpp"
#include "runtime/error.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

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

job_context_ptr make_job_context(const job_inputs& inputs, const job_settings& settings) {
  check(inputs, settings);
  job_context context{inputs,  settings, shard_layout(inputs.model->parameters(), settings.runtime.shards),
                      parse_recompute(*inputs.model, settings.training.recompute),
                      nullptr, &find_device(settings.runtime.device)};
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

/// How often the caller's thread looks at the stop request.
constexpr std::chrono::milliseconds stop_poll{50};

/// A fresh job must not find cuts of another: a recovery would go back to them.
void check_store(const job_inputs& inputs, const job_context& context) {
  if (!context.store)
    return;
  const auto steps = context.store->steps();
  if (!inputs.resume && !steps.empty())
    throw input_error(fmt::format("{}: already holds checkpoints (the newest at step {}); resume from them, or choose "
                                  "another folder",
                                  inputs.checkpoints.string(), steps.back()));
  if (inputs.resume && steps.empty())
    throw input_error(fmt::format("{}: holds no checkpoint to resume from", inputs.checkpoints.string()));
  context.store->make_ready();
}

}  // namespace

job_summary run_job(const job_inputs& inputs, const job_settings& settings, const job_observer& observer,
                    const stop_request* stop) {
  const auto context = make_job_context(inputs, settings);
  check_store(inputs, *context);
  const auto log = std::make_shared<job_log>(*context, observer);

  system_config config;
  caf::actor_system system{config};
  caf::error failure;
  {
    caf::scoped_actor self{system};
    const auto names = spawn_directory(system);
    const auto root = spawn_job(system, context, log, names, self, everybody_here(context));
    self->monitor(root);
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
          caf::after(stop_poll) >> [] {});
      // Told again and again: a coordinator that is restarted has forgotten, one that knows does not mind.
      if (stop && stop->stop && !done)
        self->request(names, caf::infinite, resolve_name{"coordinator"})
            .receive(
                [&](const directory_entry& entry) {
                  if (entry.handle)
                    self->send(entry.handle, stop_job{});
                },
                [](const caf::error&) {
                  // Not published yet: the next round tells it.
                });
    }
    if (!done) {
      if (is(failure, errc::bad_input))
        throw input_error(root_cause(failure));
      throw job_failed(root_cause(failure));
    }
  }
  return log->summary();
}

}  // namespace troupe
