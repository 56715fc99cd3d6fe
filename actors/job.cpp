#include "actors/job.hpp"

#include <algorithm>
#include <random>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "actors/cluster_job.hpp"
#include "actors/coordinator.hpp"
#include "actors/coordinator_watch.hpp"
#include "actors/job_journal.hpp"
#include "actors/job_root.hpp"
#include "actors/job_status.hpp"
#include "runtime/error.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"
#include "runtime/tensor/arithmetic.hpp"
#include "runtime/tensor/device_module.hpp"
#include "runtime/transport/frame.hpp"

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

/// How often the caller's thread looks at the stop request.
constexpr std::chrono::milliseconds stop_poll{50};
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

/// The nodes of a job, from the first that joins to the last that leaves.
class job_nodes {
 public:
  job_nodes(caf::actor_system& system, const directory_actor& names, const job_cluster& settings,
            const job_context_ptr& context, const std::shared_ptr<const job_status>& status)
      : settings_(settings), context_(context) {
    if (!context->store)
      throw input_error("a job on a cluster needs a folder for its checkpoints");
    cluster_head_options options;
    options.codecs = job_codecs();
    options.demands = demands_of(*context);
    // A backup hands over a shard's state and its part of the last cut in one message.
    const auto largest = (context->replicated() ? 2 : 1) *
                         *std::max_element(options.demands.shard_bytes.begin(), options.demands.shard_bytes.end());
    if (const auto most = frame_limits{}.tensor_bytes_max; largest > most)
      throw input_error(fmt::format("runtime.shards = {}: a node would hand over {} bytes for the largest shard, and "
                                    "hands over at most {} at once; choose {} or more shards",
                                    context->layout.shard_count(), largest, most,
                                    context->layout.shard_count() * (largest / most + 1)));
    auto documents = context->inputs.documents;
    documents["data"] = context->inputs.data->fingerprint();
    options.peers = context->settings.cluster.peers;
    options.terms.job.documents = to_documents(documents);
    options.terms.job.from_before = inheritance_of(*context);
    options.terms.prepare_within = context->settings.supervision.stall_after;
    options.terms.same_arithmetic = context->settings.repeats_exactly();
    options.cluster = fmt::format("{:016x}", std::random_device{}() * 0x100000001ull ^
                                                 static_cast<std::uint64_t>(clock::now().time_since_epoch().count()));
    options.tell = settings.tell ? settings.tell : [](const log_line&) {};
    options.status = [status] { return status->to_json().dump(); };
    head_ = std::make_shared<cluster_head>(system, settings.carrier, std::move(options));
    head_->start(names);
    seen_ = clock::now();
  }

  const std::shared_ptr<cluster_head>& head() const noexcept { return head_; }

  /// False: stopped meanwhile. Throws job_failed.
  bool wait_for_first(const stop_request* stop) {
    for (; head_->board().count(node_state::ready) < settings_.min_nodes; std::this_thread::sleep_for(stop_poll)) {
      if (stop && stop->stop)
        return false;
      check_fitness();
      if (clock::now() - seen_ > settings_.wait_for_nodes)
        throw job_failed(fmt::format("{} of {} nodes joined {} within {} s; start more with `troupe node --join {}`",
                                     head_->board().count(node_state::ready), settings_.min_nodes, head_->endpoint(),
                                     settings_.wait_for_nodes.count() / 1000, head_->endpoint()));
    }
    return true;
  }

  /// For the cut that nodes had in memory when the last head was lost, where it is newer than the newest on disk.
  void wait_for_memory(const stop_request* stop) {
    const auto step = context_->journal ? context_->journal->in_memory().value_or(cut_id{}).step : 0;
    const auto on_disk = context_->store->steps();
    if (step <= (on_disk.empty() ? 0 : on_disk.back()) || settings_.wait_for_memory.count() == 0)
      return;
    const auto missing = [&] { return shards_not_kept(head_->board(), *context_); };
    const auto until = clock::now() + settings_.wait_for_memory;
    for (bool told = false; !missing().empty() && clock::now() < until && !(stop && stop->stop);) {
      if (!std::exchange(told, true))
        say("waits", fmt::format("the cut at step {} was in the memory of nodes and is newer than the newest on disk: "
                                 "waiting up to {} s for those who have shard {}",
                                 step, settings_.wait_for_memory.count() / 1000, fmt::join(missing(), ", ")));
      std::this_thread::sleep_for(stop_poll);
    }
    if (const auto lost = missing(); !lost.empty())
      say("memory_lost", fmt::format("the cut at step {} is lost: no node came back that had shard {} of it; going on from "
                                     "the newest on disk",
                                     step, fmt::join(lost, ", ")),
          log_level::warn);
  }

  /// Throws job_failed where there has been no node, or no room on nodes, for too long, or another process has taken the
  /// run over.
  void check(const stop_request* stop) {
    check_fitness();
    check_ownership();
    check_room(stop);
    const auto& board = head_->board();
    if (board.count(node_state::ready) + board.count(node_state::leaving) + board.count(node_state::joining) > 0)
      seen_ = clock::now();
    else if (clock::now() - seen_ > settings_.wait_for_nodes)
      throw job_failed(fmt::format("no node was there for {} s; the last cut is intact: start nodes and resume",
                                   settings_.wait_for_nodes.count() / 1000));
  }

  /// Lets all nodes go, and waits for that, within a bound.
  void dismiss(const std::string& reason) {
    caf::anon_send(head_->membership(), dismiss_nodes{reason});
    const auto& board = head_->board();
    for (const auto until = clock::now() + dismiss_within; clock::now() < until; std::this_thread::sleep_for(stop_poll))
      if (board.count(node_state::ready) + board.count(node_state::leaving) + board.count(node_state::joining) == 0)
        return;
  }

  ~job_nodes() { send_exit(head_->membership(), caf::exit_reason::user_shutdown); }

 private:
  using clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds dismiss_within{5};
  static constexpr std::chrono::milliseconds look_every{500};

  void say(const char* event, std::string message, log_level level = log_level::info) const {
    if (settings_.tell)
      settings_.tell({.event = event, .message = std::move(message), .level = level});
  }

  void check_ownership() {
    const auto now = clock::now();
    if (!context_->journal || now - looked_ < look_every)
      return;
    looked_ = now;
    if (!context_->journal->is_ours())
      throw job_failed(fmt::format("{}: another process has taken this run over", settings_.journal.string()));
  }

  /// Says where nodes lack memory. Who is to stop a job that stands still for that does not wait for nodes either; and
  /// where nodes come from nowhere else there is nothing to wait for.
  void check_room(const stop_request* stop) {
    const auto now = clock::now();
    const auto& board = head_->board();
    if (now - looked_for_room_ < look_every)
      return;
    looked_for_room_ = now;
    const auto problem = board.unplaced();
    if (const bool told = std::exchange(unplaced_, !problem.empty()); unplaced_ && !told)
      say("unplaced", problem, log_level::warn);
    const auto ready = board.count(node_state::ready);
    if (!unplaced_ || ready == 0 || !board.is_anybody_homeless()) {
      homeless_since_ = now;  // without any node it is `check` that waits
      return;
    }
    const bool nobody_comes = settings_.alike && ready >= settings_.min_nodes;
    if (nobody_comes || (stop && stop->stop))
      throw job_failed(problem);
    if (now - homeless_since_ > settings_.wait_for_nodes)
      throw job_failed(fmt::format("no node that has room joined within {} s: {}", settings_.wait_for_nodes.count() / 1000,
                                   problem));
  }

  void check_fitness() const {
    if (!settings_.alike)
      return;
    for (const auto& node : head_->board().nodes())
      if (!node.fault.empty())
        throw input_error(node.fault);
  }

  const job_cluster& settings_;
  const job_context_ptr context_;
  std::shared_ptr<cluster_head> head_;
  clock::time_point seen_;
  clock::time_point looked_;
  clock::time_point looked_for_room_;
  clock::time_point homeless_since_ = clock::now();
  bool unplaced_ = false;
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
          caf::after(stop_poll) >> [] {});
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
