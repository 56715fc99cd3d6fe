#include "actors/coordinator.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <set>

#include <fmt/format.h>

#include "actors/chaos.hpp"
#include "actors/job_tree.hpp"
#include "actors/step_ledger.hpp"
#include "runtime/checkpoint/fingerprint.hpp"
#include "runtime/error.hpp"
#include "runtime/probe.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

namespace {

class coordinator {
 public:
  coordinator(coordinator_actor::pointer self, job_context_ptr context, std::shared_ptr<job_log> log,
              const child_context& born, caf::actor listener, job_places places)
      : self_(self),
        me_(caf::actor_cast<caf::actor>(self)),
        context_(std::move(context)),
        log_(std::move(log)),
        listener_(std::move(listener)),
        places_(std::move(places)),
        rebalance_(places_.rebalance != nullptr),
        alive_(*context_),
        ledger_(context_->layout.shard_count()) {
    own_.supervisor = "root";
    own_.child = born.name;
    own_.incarnation = born.incarnation;
    if (places_.describe)
      own_.where = places_.describe(born.name);
    log_->event(own_);
    tree_ = spawn_job_tree(self_->system(), *context_, places_.spawn, born.names, me_);
    self_->link_to(tree_);  // either takes the other down
    watch_for_stalls();
  }

  // -- its own end --------------------------------------------------------------------

  /// Before it fails. Nobody else tells: the log belongs to this coordinator as long as it lives.
  void fails_with(const caf::error& reason) {
    own_.reason = reason;
    own_.explanation = fmt::format("{}: {}", own_.child, root_cause(reason));
    own_.what = child_event::kind::ended;
    log_->event(own_);
    if (is(reason, errc::bad_input))
      return;  // a restart would meet the same
    own_.what = child_event::kind::restarting;
    log_->event(own_);
  }

  // -- who lives --------------------------------------------------------------------

  void on(child_event& event) {
    alive_.note(event);
    if (places_.describe) {
      auto& home = homes_[event.child];
      if (event.what == child_event::kind::started)
        home = places_.describe(event.child);
      event.where = home;
    }
    log_->event(event);
    if (event.what != child_event::kind::started)
      return;
    put_to_work(event);
    if (moving_.erase(event.child) > 0 && moving_.empty()) {
      finish_moves();
      work_at_barrier();
    }
  }

  void on(const lane_stuck& message) {
    if (message.epoch == epoch_ && alive_.all_shards_alive())
      restore_all();
  }

  // -- how far it got -----------------------------------------------------------------

  void on(const shard_report& report) {
    if (report.epoch != epoch_)
      return;
    ++heard_;
    log_->shard(report, alive_.shard_incarnations[report.shard]);
    ledger_.note(report);
    report_steps();
    work_at_barrier();
  }

  void on(const lane_report& report) {
    ++heard_;
    log_->computed(report.lane, report.step, report.tokens);
  }

  // -- stopping early -------------------------------------------------------------------

  void on(const stop_job&) {
    if (stopping_ || ended_)
      return;
    stopping_ = true;
    if (epoch_ > 0)
      pause_lanes();
  }

  void on(const lane_paused& message) {
    if (message.epoch != epoch_ || paused_.empty())
      return;
    paused_[message.lane] = message.next_step;
    if (std::any_of(paused_.begin(), paused_.end(), [](const auto& step) { return !step; }))
      return;
    const auto level = **std::max_element(paused_.begin(), paused_.end());
    paused_.clear();
    if (stopping_)
      last_step_ = level;
    else
      early_cut_at_ = level;
    move_barrier(level);
    work_at_barrier();
  }

  // -- a cut before its time, and moving between nodes ------------------------------------

  void on(const node_ready&) {
    rebalance_ = true;
    if (epoch_ > 0 && context_->settings.checkpoint.every == 0)
      want_cut();  // no other is coming at which the node could get to work
  }

  void on(const node_leaving& message) {
    leaving_.insert(message.node);
    want_cut();
  }

  void on(const cut_wanted&) { want_cut(); }

  // -- at the barrier ---------------------------------------------------------------------

  void on(const evaluation_started& message) {
    if (message.epoch != epoch_ || evaluation_.step != message.step)
      return;
    evaluation_.holds_parameters = true;
    work_at_barrier();
  }

  void on(const evaluation_done& message) {
    if (message.epoch != epoch_ || evaluation_.step != message.report.step)
      return;  // asked for again after a shard was lost
    evaluation_ = {};
    ++heard_;
    evaluated_ = message.report.step;
    log_->evaluation(message.report);
    work_at_barrier();
  }

  void on(const snapshot_taken& message) {
    if (message.epoch != epoch_ || !cut_ || cut_->step != message.step)
      return;
    cut_->taken[message.shard] = true;
    cut_->pause_seconds = std::max(cut_->pause_seconds, message.pause_seconds);
    cut_->taken_by_all = std::all_of(cut_->taken.begin(), cut_->taken.end(), [](bool taken) { return taken; });
    work_at_barrier();
  }

  void on(const cut_published& message) {
    if (message.epoch != epoch_ || !cut_ || cut_->step != message.step)
      return;
    log_->cut({message.step, message.path, message.size_bytes, cut_->pause_seconds, message.write_seconds});
    ++heard_;
    saved_ = message.step;
    cut_.reset();
    work_at_barrier();
  }

  void on(parameters& message) {
    if (message.epoch != epoch_ || final_.empty() || message.attempt != final_attempt_)
      return;
    for (std::size_t i = 0; i < message.values.size(); ++i)
      final_[message.first + i] = std::move(message.values[i]);
    if (std::all_of(final_.begin(), final_.end(), [](const auto& value) { return static_cast<bool>(value); }))
      finish();
  }

 private:
  // -- starting and recovering ------------------------------------------------------------

  void put_to_work(const child_event& event) {
    const auto where = role_of(event.child);
    switch (where.kind) {
      case role_kind::shard:
        return recover(where.index);
      case role_kind::replica:
      case role_kind::loader:
        return begin_lane_of(where.index);
      case role_kind::evaluator:
        if (evaluation_.step && *evaluation_.step != barrier_)
          log_->warning(fmt::format("the evaluation at step {} was lost with the evaluator", *evaluation_.step));
        evaluation_ = {};
        return work_at_barrier();
      case role_kind::writer:
        if (cut_ && cut_->step != barrier_)
          log_->warning(fmt::format("the cut at step {} was lost with the checkpoint writer; the next one replaces it",
                                    cut_->step));
        cut_.reset();
        return work_at_barrier();
      case role_kind::other:
        return;
    }
  }

  void recover(std::uint32_t shard) {
    unrestored_.insert(shard);
    if (!alive_.all_shards_alive())
      return;
    if (epoch_ == 0 || context_->sync())
      restore_all();
    else
      restore_lost();
  }

  std::optional<cut> newest_cut() {
    if (!context_->store)
      return {};
    auto found = context_->store->latest([this](const std::string& message) { log_->warning(message); });
    if (!found)
      return {};
    const auto& documents = found->manifest.documents;
    const auto data = documents.find("data");  // a cut that was imported names none
    if (data != documents.end() && data->second != context_->inputs.data->fingerprint())
      throw input_error(fmt::format("{}: was trained on other data, or with another tokenizer, split or order; resume "
                                    "with the data settings it was written with",
                                    found->path.string()));
    return found;
  }

  /// All shards return to the newest cut under a new epoch; the lanes follow.
  void restore_all() {
    if (epoch_ > 0)
      probe("coordinator: all shards went back to a cut");
    const auto from = newest_cut();
    const auto step = from ? from->manifest.step : 0;
    ++epoch_;
    ledger_.restart(step);
    evaluation_ = {};
    cut_.reset();
    final_.clear();
    saved_ = from ? std::optional(step) : std::nullopt;
    paused_.clear();
    early_cut_at_.reset();
    if (early_cut_ || !leaving_.empty())
      paused_.assign(context_->lanes(), {});
    log_->restored(step);
    for (std::uint32_t shard = 0; shard < alive_.shards.size(); ++shard)
      unrestored_.insert(shard);
    restore_shards(from);
    last_step_ = stopping_ ? step : std::max(step, context_->settings.training.steps);
    barrier_ = next_barrier(step);
    for (std::uint32_t lane = 0; lane < context_->lanes(); ++lane)
      begin_lane_of(lane);
  }

  /// Bounded and async: only the lost shards return to the newest cut. The lanes ask all shards what is due and replay
  /// for those; the others drop what they have applied.
  void restore_lost() {
    probe("coordinator: a lost shard went back alone, and lanes replay for it");
    for (const auto shard : unrestored_)
      ledger_.forget(shard);
    restore_shards(newest_cut());
    // What the lost shards had not answered yet is asked again when all lanes stand at the barrier again.
    final_.clear();
    if (cut_ && cut_->step == barrier_)
      cut_.reset();
    if (evaluation_.step == barrier_)
      evaluation_ = {};
    for (std::uint32_t lane = 0; lane < context_->lanes(); ++lane)
      begin_lane_of(lane);
  }

  /// Tells the shards that wait for it what they go on from.
  void restore_shards(const std::optional<cut>& from) {
    std::vector<shard_origin> origins;
    if (from)
      origins = split_cut(*from, context_->model().parameters(), context_->layout);
    for (const auto shard : unrestored_)
      tell(self_, alive_.shards[shard],
           restore_shard{epoch_, from ? std::optional(std::move(origins[shard])) : std::nullopt, alive_.shards});
    unrestored_.clear();
  }

  void begin_lane_of(std::uint32_t lane) {
    if (epoch_ == 0 || !alive_.all_shards_alive() || !alive_.replicas[lane] || !alive_.loaders[lane])
      return;
    const bool pausing = !paused_.empty();
    tell(self_, alive_.replicas[lane],
                begin_lane{epoch_, pausing ? 0 : barrier_, alive_.shards, alive_.loaders[lane]});
    if (pausing)
      tell(self_, alive_.replicas[lane], pause_lane{epoch_});
  }

  void pause_lanes() {
    paused_.assign(context_->lanes(), {});
    for (const auto& replica : alive_.replicas)
      if (replica)
        tell(self_, replica, pause_lane{epoch_});
  }

  /// As soon as all lanes stand level.
  void want_cut() {
    if (!context_->store)
      log_->warning("a cut was asked for, but this job keeps no checkpoints");
    early_cut_ = true;
    if (epoch_ > 0 && !stopping_ && !ended_ && paused_.empty())
      pause_lanes();
  }

  // -- stalls ---------------------------------------------------------------------------------

  /// Bounds every wait of the job (P3): an actor that is stuck in a handler neither answers nor ends.
  void watch_for_stalls() {
    const auto patience = context_->settings.supervision.stall_after;
    if (patience.count() == 0)
      return;
    run_later(self_, patience, [this, patience, before = heard_] {
      if (heard_ == before && !ended_) {
        const auto seconds = std::chrono::duration<double>(patience).count();
        const auto reason = make_error(errc::timed_out,
                                       fmt::format("nothing was done for {} s: {}", seconds, waiting_for()));
        fails_with(reason);
        self_->quit(reason);
      } else {
        watch_for_stalls();
      }
    });
  }

  std::string waiting_for() const {
    return fmt::format("{} of {}{}{}", ledger_.describe(), barrier_, evaluation_.step ? ", an evaluation under way" : "",
                       cut_ ? ", a cut under way" : "");
  }

  // -- progress -----------------------------------------------------------------------------

  bool at_barrier() const { return epoch_ > 0 && ledger_.reported_all() && ledger_.steps_done() == barrier_; }

  /// Tells of the steps that all shards have applied.
  void report_steps() {
    while (const auto report = ledger_.next()) {
      log_->step(*report);
      for (const auto& each : log_->chaos().due(report->step))
        injure(each);
    }
  }

  void injure(const chaos_settings::kill& told) {
    const auto& name = told.actor;
    if (name == "coordinator") {
      log_->killed();
      if (told.how != chaos_settings::fault::exit)
        fail_as_told(told.how, name);
      const auto reason = make_error(errc::killed_by_chaos, name + " was killed by fault injection");
      fails_with(reason);
      self_->quit(reason);
    } else if (const auto node = node_in(name); node && places_.membership) {
      log_->killed();
      tell(self_, places_.membership, kill_node{*node});
    } else if (const auto victim = alive_.handle(name)) {
      log_->killed();
      inject(told.how, name, victim);
    }
  }

  // -- barriers -------------------------------------------------------------------------------

  static std::optional<node_id> node_in(const std::string& name) {
    constexpr std::string_view prefix = "node/";
    node_id node = head_node;
    if (!name.starts_with(prefix) ||
        std::from_chars(name.data() + prefix.size(), name.data() + name.size(), node).ptr != name.data() + name.size())
      return {};
    return node;
  }

  static std::uint64_t next_multiple(std::uint64_t after, std::uint64_t every) {
    return every == 0 ? std::numeric_limits<std::uint64_t>::max() : (after / every + 1) * every;
  }

  std::uint64_t next_barrier(std::uint64_t after) const {
    const auto& settings = context_->settings;
    const auto cut_at = next_multiple(after, context_->store ? settings.checkpoint.every : 0);
    const auto evaluation_at = next_multiple(after, settings.evaluation.batches > 0 ? settings.evaluation.every : 0);
    return std::min({cut_at, evaluation_at, last_step_});
  }

  void move_barrier(std::uint64_t step) {
    barrier_ = step;
    for (const auto& replica : alive_.replicas)
      if (replica)
        tell(self_, replica, run_until{epoch_, barrier_});
  }

  bool evaluation_due() const {
    const auto& settings = context_->settings.evaluation;
    if (settings.batches == 0 || evaluated_ == barrier_)
      return false;
    const bool at_end = barrier_ == last_step_ && !stopping_;
    return at_end || (barrier_ > 0 && settings.every > 0 && barrier_ % settings.every == 0);
  }

  bool cut_due() const {
    const auto& settings = context_->settings.checkpoint;
    if (!context_->store || saved_ == barrier_)
      return false;
    const bool at_end = barrier_ == last_step_ && (settings.at_end || stopping_);
    return at_end || early_cut_at_ == barrier_ || (barrier_ > 0 && settings.every > 0 && barrier_ % settings.every == 0);
  }

  /// Whether the evaluation due here has its parameters; asks for it where it does not.
  bool served_evaluation() {
    if (!evaluation_due())
      return true;
    if (evaluation_.step == barrier_)
      return evaluation_.holds_parameters;
    if (evaluation_.step || !alive_.evaluator)
      return false;  // busy with the one before, or about to be started again
    evaluation_ = {barrier_, false};
    tell(self_, alive_.evaluator, evaluate{epoch_, barrier_, alive_.shards});
    return false;
  }

  /// Whether the shards have taken the snapshots due here; asks for them where they have not.
  bool served_cut() {
    if (!cut_due())
      return true;
    if (cut_ && cut_->step != barrier_)
      return false;  // one cut is under way at a time
    if (!alive_.writer)
      return false;
    if (!cut_)
      cut_ = cut_under_way{barrier_, std::vector<bool>(alive_.shards.size(), false)};
    if (!cut_->asked) {
      cut_->asked = true;
      for (const auto& shard : alive_.shards)
        tell(self_, shard, take_snapshot{epoch_, barrier_, alive_.writer});
    }
    return cut_->taken_by_all;
  }

  /// Whether everybody lives where they should, as far as this barrier allows a move; moves them where they do not.
  bool served_moves() {
    if ((!rebalance_ && leaving_.empty()) || barrier_ == last_step_)
      return true;
    if (!context_->store) {  // to move a shard would be to start all over
      finish_moves();
      return true;
    }
    if (saved_ != barrier_) {
      const bool being_written = cut_ && cut_->step == barrier_;
      return !being_written;  // where no cut is due nobody moves
    }
    if (evaluation_.step)
      return false;  // it would be lost
    if (!moved_) {
      moved_ = true;
      for (const auto& name : places_.rebalance()) {
        const auto who = alive_.handle(name);
        if (!who)
          continue;  // it is about to be started, and will be at its new home
        probe("coordinator: an actor moved to another node");
        moving_.insert(name);
        send_exit(who, make_error(errc::moved, name + ": moves to another node"));
      }
      if (!moving_.empty())
        return false;
    }
    finish_moves();
    return true;
  }

  void finish_moves() {
    moved_ = rebalance_ = false;
    for (const auto node : leaving_)
      tell(self_, places_.membership, node_vacated{node});
    leaving_.clear();
  }

  void work_at_barrier() {
    if (ended_ || !paused_.empty() || !at_barrier() || !moving_.empty())
      return;
    const bool evaluation_served = served_evaluation();
    if (!served_cut() || !evaluation_served)
      return;
    if (early_cut_at_ == barrier_)
      early_cut_ = false;
    if (!served_moves())
      return;
    if (barrier_ < last_step_)
      return move_barrier(next_barrier(barrier_));
    if (cut_ || evaluation_.step || !final_.empty())
      return;  // the end waits for what is still being written and measured
    final_.assign(context_->model().parameters().size(), {});
    ++final_attempt_;
    for (const auto& shard : alive_.shards)
      tell(self_, shard, pull_parameters{epoch_, 0, barrier_, true, final_attempt_});
  }

  // -- the end ----------------------------------------------------------------------------------

  void finish() {
    ended_ = true;
    log_->finished(fingerprint(context_->make_stream()->all_to_host(final_)), barrier_ < context_->settings.training.steps);
    final_.clear();
    // From here on the tree may end as it likes; but if this coordinator dies, it must not live on beside its successor's.
    self_->set_exit_handler([this](caf::exit_msg& message) {
      if (message.source != tree_.address())
        self_->quit(message.reason);
    });
    self_->request(tree_, caf::infinite, shut_down{})
        .then([this] { end(); }, [this](const caf::error&) { end(); });
  }

  void end() {
    tell(self_, listener_, job_done{});
    self_->quit();
  }

  struct evaluation_under_way {
    std::optional<std::uint64_t> step;
    bool holds_parameters = false;
  };

  struct cut_under_way {
    std::uint64_t step = 0;
    std::vector<bool> taken;  // by shard
    bool asked = false;
    bool taken_by_all = false;
    double pause_seconds = 0.0;
  };

  coordinator_actor::pointer self_;
  caf::actor me_;
  job_context_ptr context_;
  std::shared_ptr<job_log> log_;
  caf::actor listener_;
  job_places places_;
  child_event own_;  // what was told last of this coordinator
  bool rebalance_;  // nodes may have joined since everybody found a place
  supervisor_actor tree_;
  roster alive_;
  std::set<std::uint32_t> unrestored_;  // shards that came up and wait for restore_shard

  std::uint64_t epoch_ = 0;      // 0: not all shards have come up yet
  std::uint64_t barrier_ = 0;    // lanes may compute the steps below it
  std::uint64_t last_step_ = 0;  // the barrier at which the job ends
  bool stopping_ = false;
  bool ended_ = false;

  step_ledger ledger_;

  evaluation_under_way evaluation_;
  std::optional<std::uint64_t> evaluated_;  // the last step evaluated
  std::optional<cut_under_way> cut_;
  std::optional<std::uint64_t> saved_;      // the last step published
  std::vector<std::optional<std::uint64_t>> paused_;  // by lane, while all are told to pause: where it stands

  bool early_cut_ = false;                      // one was asked for
  std::optional<std::uint64_t> early_cut_at_;   // where all lanes stand for it
  std::set<node_id> leaving_;                   // nodes that wait for us to move off them
  bool moved_ = false;                          // those who must move were told
  std::set<std::string> moving_;                // ... and have not started at their new homes yet
  std::vector<tensor> final_;               // at the end: all parameters
  std::uint64_t final_attempt_ = 0;
  std::uint64_t heard_ = 0;  // messages that mean progress
  std::map<std::string, std::string> homes_;  // by actor: where it was started last, for people
};

struct coordinator_state {
  std::unique_ptr<coordinator> body;
  static inline const char* name = "coordinator";
};

coordinator_actor::behavior_type behave(coordinator_actor::stateful_pointer<coordinator_state> self,
                                        const job_context_ptr& context, const std::shared_ptr<job_log>& log,
                                        const child_context& born, const caf::actor& listener,
                                        const job_places& places) {
  obey_chaos(self);
  auto& body = self->state.body;
  self->set_exception_handler([&body](caf::scheduled_actor*, std::exception_ptr& thrown) {
    const auto reason = to_error(thrown);
    if (body)
      body->fails_with(reason);
    return reason;
  });
  body = std::make_unique<coordinator>(self, context, log, born, listener, places);
  return {
      [&body](child_event& message) { body->on(message); },
      [&body](const shard_report& message) { body->on(message); },
      [&body](const lane_report& message) { body->on(message); },
      [&body](const lane_paused& message) { body->on(message); },
      [&body](const lane_stuck& message) { body->on(message); },
      [&body](const evaluation_started& message) { body->on(message); },
      [&body](const evaluation_done& message) { body->on(message); },
      [&body](const snapshot_taken& message) { body->on(message); },
      [&body](const cut_published& message) { body->on(message); },
      [&body](parameters& message) { body->on(message); },
      [](const pull_too_late&) {
        // A rollback overtook the last pull; the end is reached again.
      },
      [&body](const stop_job& message) { body->on(message); },
      [&body](const node_ready& message) { body->on(message); },
      [&body](const node_leaving& message) { body->on(message); },
      [&body](const cut_wanted& message) { body->on(message); },
  };
}

}  // namespace

caf::actor spawn_coordinator(caf::actor_system& system, job_context_ptr context, std::shared_ptr<job_log> log,
                             const child_context& born, caf::actor listener, job_places places) {
  return caf::actor_cast<caf::actor>(
      spawn_computing(system, behave, std::move(context), std::move(log), born, std::move(listener), std::move(places)));
}

}  // namespace troupe
