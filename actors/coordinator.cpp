#include "actors/coordinator_body.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "actors/chaos.hpp"
#include "runtime/checkpoint/fingerprint.hpp"
#include "runtime/probe.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

namespace {

std::optional<node_id> node_in(const std::string& name) {
  constexpr std::string_view prefix = "node/";
  node_id node = head_node;
  if (!name.starts_with(prefix) ||
      std::from_chars(name.data() + prefix.size(), name.data() + name.size(), node).ptr != name.data() + name.size())
    return {};
  return node;
}

}  // namespace

coordinator::coordinator(coordinator_actor::pointer self, job_context_ptr context, std::shared_ptr<job_log> log,
                         const child_context& born, caf::actor listener, job_places places)
    : self_(self),
      me_(caf::actor_cast<caf::actor>(self)),
      context_(std::move(context)),
      log_(std::move(log)),
      listener_(std::move(listener)),
      places_(std::move(places)),
      rebalance_(places_.rebalance != nullptr),
      alive_(*context_),
      kept_(context_->layout.shard_count()),
      ledger_(context_->layout.shard_count()) {
  own_.supervisor = "root";
  own_.child = born.name;
  own_.incarnation = born.incarnation;
  if (places_.describe)
    own_.where = places_.describe(born.name);
  own_.explanation = born.name + ": started";
  log_->event(own_);
  tree_ = spawn_job_tree(self_->system(), *context_, places_.spawn, born.names, me_,
                         places_.settle_keepers != nullptr);
  self_->link_to(tree_);  // either takes the other down
  self_->set_down_handler([this](const caf::down_msg& down) { lose_survivor(down.source); });
  watch_for_stalls();
  watch_for_cuts();
  watch_speeds();
}

void coordinator::fails_with(const caf::error& reason) {
  own_.reason = reason;
  own_.explanation = fmt::format("{}: {}", own_.child, root_cause(reason));
  own_.what = child_event::kind::ended;
  log_->event(own_);
  if (is_final(reason))
    return;  // a restart would meet the same
  own_.what = child_event::kind::restarting;
  log_->event(own_);
}

void coordinator::give_up(std::string why) {
  const auto reason = make_error(errc::hopeless, std::move(why));
  fails_with(reason);
  self_->quit(reason);
}

void coordinator::on(child_event& event) {
  alive_.note(event);
  if (places_.describe) {
    auto& home = homes_[event.child];
    if (event.what == child_event::kind::started)
      home = places_.describe(event.child);
    event.where = home;
  }
  log_->event(event);
  if (ended_)
    return;  // whoever is lost now is not needed any more
  if (log_->fruitless_restarts() > context_->settings.supervision.fruitless_max)
    return give_up(fmt::format("{}; {} restarts brought no new step", event.explanation, log_->fruitless_restarts()));
  if (event.what != child_event::kind::started) {
    if (!alive_.handle(event.child))
      note_end(role_of(event.child));
    return;
  }
  put_to_work(event);
  if (moving_.erase(event.child) > 0 && moving_.empty()) {
    finish_moves();
    work_at_barrier();
  }
}

void coordinator::on(const shard_report& report) {
  if (ended_ || report.epoch != epoch_ || self_->current_sender() != alive_.shards[report.shard])
    return;
  ++heard_;
  log_->shard(report, alive_.shard_incarnations[report.shard]);
  ledger_.note(report);
  kept_.note_own(report.shard, report.held);
  end_restore(report);
  report_steps();
  work_at_barrier();
}

void coordinator::on(const lane_report& report) {
  ++heard_;
  log_->computed(report.lane, report.step, report.tokens);
  if (places_.note_step && self_->current_sender() == alive_.replicas[report.lane])
    places_.note_step(report.lane, report.seconds);
}

void coordinator::on(parameters& message) {
  if (message.epoch != epoch_ || final_.empty() || message.attempt != final_attempt_)
    return;
  for (std::size_t i = 0; i < message.values.size(); ++i)
    final_[message.first + i] = std::move(message.values[i]);
  if (std::all_of(final_.begin(), final_.end(), [](const auto& value) { return static_cast<bool>(value); }))
    finish();
}

void coordinator::watch_for_stalls() {
  const auto& settings = context_->settings.supervision;
  if (settings.stall_after.count() == 0)
    return;
  constexpr int looks = 4;  // time in which this process stood still itself is one look, not a stall
  constexpr std::chrono::milliseconds look_min{10};
  const auto until_look = std::max(std::min(settings.stall_after, settings.stall_least) / looks, look_min);
  run_later(self_, until_look, [this, until_look, before = heard_] {
    const bool same_wait = std::exchange(awaits_steps_, awaits_steps()) == awaits_steps();
    silent_ = heard_ == before && !ended_ && same_wait ? silent_ + until_look : std::chrono::milliseconds{0};
    if (silent_ < stall_patience())
      return watch_for_stalls();
    probe("coordinator: nothing was done for too long, and it started over");
    const auto reason =
        make_error(errc::timed_out, fmt::format("nothing was done for {} s: {}",
                                                std::chrono::duration<double>(silent_).count(), waiting_for()));
    fails_with(reason);
    self_->quit(reason);
  });
}

/// Rather than for somebody to be started or restored, an evaluation or a cut: of those nobody knows how long they take.
bool coordinator::awaits_steps() const {
  return alive_.all_alive() && restoring_.empty() && moving_.empty() && !evaluation_.step && !cut_;
}

std::chrono::milliseconds coordinator::stall_patience() const {
  const auto& settings = context_->settings.supervision;
  if (!awaits_steps_ || settings.stall_steps == 0.0 || log_->seconds_per_step() == 0.0)
    return settings.stall_after;
  const std::chrono::duration<double> steps(settings.stall_steps * log_->seconds_per_step());
  const auto usual = std::max<std::chrono::duration<double>>(steps, settings.stall_least);
  return std::chrono::duration_cast<std::chrono::milliseconds>(
      std::min<std::chrono::duration<double>>(usual, settings.stall_after));
}

std::string coordinator::waiting_for() const {
  return fmt::format("{} of {}{}{}", ledger_.describe(), barrier_, evaluation_.step ? ", an evaluation under way" : "",
                     cut_ ? ", a cut under way" : "");
}

void coordinator::report_steps() {
  while (const auto report = ledger_.next()) {
    log_->step(*report);
    for (const auto& each : log_->chaos().due(report->step))
      injure(each);
  }
}

void coordinator::injure(const chaos_settings::kill& told) {
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

void coordinator::finish() {
  ended_ = true;
  const auto& last = log_->summary().last_evaluation;  // perhaps of a coordinator before this one, or a process
  const bool measured = context_->settings.evaluation.batches == 0 || (last && last->step == barrier_) ||
                        context_->inputs.evaluated == barrier_;
  log_->finished(fingerprint(on_host(final_)),
                 barrier_ < context_->settings.training.steps || (stopping_ && !measured));
  final_.clear();
  // From here on the tree may end as it likes; but if this coordinator dies, it must not live on beside its
  // successor's.
  self_->set_exit_handler([this](caf::exit_msg& message) {
    if (message.source != tree_.address())
      self_->quit(message.reason);
  });
  self_->request(tree_, caf::infinite, shut_down{})
      .then([this] { end(); }, [this](const caf::error&) { end(); });
}

void coordinator::end() {
  tell(self_, listener_, job_done{});
  self_->quit();
}

namespace {

struct coordinator_state {
  std::unique_ptr<coordinator> body;
  static inline const char* name = "coordinator";
};

coordinator_actor::behavior_type coordinator_behavior(
    coordinator_actor::stateful_pointer<coordinator_state> self, const job_context_ptr& context,
    const std::shared_ptr<job_log>& log, const child_context& born, const caf::actor& listener,
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
      [&body](const cut_failed& message) { body->on(message); },
      [&body](const cut_kept& message) { body->on(message); },
      [&body](const restore_failed& message) { body->on(message); },
      [&body](const backup_begun& message) { body->on(message); },
      [&body](const backup_lost& message) { body->on(message); },
      [&body](parameters& message) { body->on(message); },
      [](const pull_too_late&) {
        // A rollback overtook the last pull; the end is reached again.
      },
      [&body](const stop_job& message) { body->on(message); },
      [](const show_life& message) { *message.lives = true; },
      [&body](const node_ready& message) { body->on(message); },
      [&body](const node_leaving& message) { body->on(message); },
      [&body](const cut_wanted& message) { body->on(message); },
  };
}

}  // namespace

caf::actor spawn_coordinator(caf::actor_system& system, job_context_ptr context, std::shared_ptr<job_log> log,
                             const child_context& born, caf::actor listener, job_places places) {
  return caf::actor_cast<caf::actor>(spawn_computing(system, coordinator_behavior, std::move(context), std::move(log), born,
                                                     std::move(listener), std::move(places)));
}

}  // namespace troupe
