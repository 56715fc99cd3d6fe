#include "actors/replica.hpp"

#include <algorithm>
#include <chrono>
#include <optional>

#include "actors/chaos.hpp"
#include "actors/lane_pass.hpp"
#include "actors/spawn_in_lane.hpp"
#include "runtime/probe.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

namespace {

/// How often, and how far apart, a lane asks again when its shards name different steps: long enough for a shard
/// that is about to apply its update, short enough not to be noticed.
constexpr int disagreements_max = 200;
constexpr std::chrono::milliseconds disagreement_pause{5};

class replica {
 public:
  replica(replica_actor::pointer self, job_context_ptr context, std::uint32_t lane, std::uint64_t incarnation,
          caf::actor coordinator)
      : self_(self),
        context_(std::move(context)),
        lane_(lane),
        attempt_(incarnation << 32),
        coordinator_(std::move(coordinator)),
        work_(context_, lane) {}

  void on(const begin_lane& message) {
    if (message.epoch < epoch_)
      return;
    epoch_ = message.epoch;
    limit_ = message.limit;
    shards_ = message.shards;
    loader_ = message.loader;
    disagreements_ = 0;
    pausing_ = false;
    start_over();
  }

  void on(const run_until& message) {
    if (message.epoch != epoch_)
      return;
    limit_ = message.limit;
    pausing_ = false;  // the coordinator has decided without this lane's answer
    if (now_ == phase::resting)
      begin_step();
  }

  void on(const pause_lane& message) {
    if (message.epoch != epoch_)
      return;
    pausing_ = true;
    if (now_ != phase::asking && now_ != phase::idle)
      answer_pause();
  }

  void on(const lane_due& message) {
    if (message.attempt != attempt_ || now_ != phase::asking)
      return;
    due_[message.shard] = message.next_step;
    caught_up_at_ = std::max(caught_up_at_, message.next_step + message.is_pending);
    if (std::any_of(due_.begin(), due_.end(), [](const auto& due) { return !due; }))
      return;
    const auto [low, high] = std::minmax_element(due_.begin(), due_.end());
    if (*low != *high)
      probe("replica: a step had reached some shards and not others");
    if (context_->sync() && *low != *high)
      return ask_again();
    // Behind the others, a shard that came back is brought up to date: they drop what they have applied before.
    step_ = **low;
    now_ = phase::resting;
    if (pausing_)
      answer_pause();
    begin_step();
  }

  void on(lane_batch& message) {
    if (now_ != phase::waiting || message.step != step_ || has_batch_)
      return;
    has_batch_ = true;
    samples_ = std::move(message.samples);
    work_.begin(step_, std::move(message.micro_batches));
    for (auto& early : early_)
      work_.supply(early.first, early.values);
    early_.clear();
    schedule();
  }

  void on(parameters& message) {
    if (message.attempt != attempt_ || message.step != step_)
      return;
    versions_[message.shard] = message.version;
    if (!has_batch_) {
      early_.push_back(std::move(message));
      return;
    }
    work_.supply(message.first, message.values);
    schedule();
  }

  void on(const pull_too_late& message) {
    if (message.attempt == attempt_ && message.step == step_)
      ask_again();
  }

  void on(const proceed& message) {
    if (message.attempt != attempt_)
      return;
    scheduled_ = false;
    const auto begin = self_->clock().now();
    const auto done = work_.advance();
    computing_ += self_->clock().now() - begin;
    if (done.has_gradients)
      push(done.gradients_of);
    if (done.finished)
      complete();
    else
      schedule();
  }

 private:
  enum class phase : std::uint8_t {
    idle,     ///< nobody told it to begin
    asking,   ///< the shards: which step is due
    resting,  ///< at the limit
    waiting,  ///< for batch and parameters, or computing
  };

  /// Abandons what is under way and asks the shards what is due.
  void start_over() {
    ++attempt_;
    scheduled_ = has_batch_ = false;
    work_.release();
    early_.clear();
    now_ = phase::asking;
    due_.assign(shards_.size(), {});
    caught_up_at_ = 0;
    for (const auto& shard : shards_)
      tell(self_, shard, query_lane{epoch_, lane_, attempt_});
  }

  void ask_again() {
    if (++disagreements_ > disagreements_max) {
      tell(self_, coordinator_, lane_stuck{epoch_, lane_});
      disagreements_ = 0;
    }
    start_over();
    // The answers of this round are ignored: the round that counts begins after the pause.
    due_.clear();
    now_ = phase::idle;
    run_later(self_, disagreement_pause, [this, attempt = attempt_] {
      if (attempt == attempt_)
        start_over();
    });
  }

  /// Not before all shards have applied the same steps of this lane: a cut in between would hold some of them twice, and one
  /// before a step that is about to be applied would never be taken.
  void answer_pause() {
    pausing_ = false;
    limit_ = std::max(now_ == phase::waiting ? step_ + 1 : step_, caught_up_at_);
    tell(self_, coordinator_, lane_paused{epoch_, lane_, limit_});
  }

  void begin_step() {
    if (step_ >= limit_)
      return;
    now_ = phase::waiting;
    has_batch_ = false;
    computing_ = {};
    versions_.assign(shards_.size(), 0);
    tell(self_, loader_, read_lane_batch{lane_, step_});
    for (const auto& shard : shards_)
      tell(self_, shard, pull_parameters{epoch_, lane_, step_, false, attempt_});
  }

  /// Runs the next block through the mailbox, so that whatever arrived meanwhile is served first.
  void schedule() {
    if (scheduled_ || !work_.ready())
      return;
    scheduled_ = true;
    self_->send(self_, proceed{attempt_});
  }

  void push(std::size_t block) {
    const bool with_squares = !context_->sync();
    for (const auto& piece : context_->layout.pieces()) {
      if (piece.block != block)
        continue;
      push_gradient message{epoch_, lane_, step_, attempt_, piece.first, {}};
      for (auto i = piece.first; i < piece.last; ++i) {
        if (with_squares)
          work_.add_squares(i);
        message.gradients.push_back(work_.take_gradient(i));
      }
      tell(self_, shards_[piece.shard], std::move(message));
    }
  }

  void complete() {
    work_.release();  // before the shards hear of it: they update in place what nobody holds
    std::vector<complete_step> done;
    for (const auto version : versions_)
      done.push_back({epoch_, lane_, step_, attempt_, version, work_.targets(), work_.losses(), work_.squares(), samples_});
    lane_report report{lane_, step_, work_.tokens()};
    auto computing = computing_;
    ++step_;
    disagreements_ = 0;
    now_ = phase::resting;
    // A shard that updates, and then waits for its device, has given those what they need who had asked for it before.
    if (context_->sync())
      begin_step();
    for (std::uint32_t shard = 0; shard < shards_.size(); ++shard)
      tell(self_, shards_[shard], std::move(done[shard]));
    if (!context_->sync())
      begin_step();
    const auto begin = self_->clock().now();
    work_.synchronize();
    computing += self_->clock().now() - begin;
    report.seconds = std::chrono::duration<double>(computing).count();
    tell(self_, coordinator_, report);
  }

  replica_actor::pointer self_;
  job_context_ptr context_;
  std::uint32_t lane_;
  std::uint64_t attempt_;
  caf::actor coordinator_;
  lane_pass work_;

  phase now_ = phase::idle;
  std::uint64_t epoch_ = 0;
  std::uint64_t step_ = 0;
  std::uint64_t limit_ = 0;
  std::uint64_t caught_up_at_ = 0;  // below it, some shards have applied the lane's steps, or are about to
  bool pausing_ = false;
  bool has_batch_ = false;
  bool scheduled_ = false;
  int disagreements_ = 0;
  caf::actor_clock::duration_type computing_{};  // of this step
  std::vector<caf::actor> shards_;
  caf::actor loader_;
  std::vector<std::optional<std::uint64_t>> due_;  // by shard
  std::vector<std::uint64_t> versions_;            // by shard: of the parameters in use
  std::vector<sample_range> samples_;              // of the batch
  std::vector<parameters> early_;                  // came before the batch
};

struct replica_state {
  std::unique_ptr<replica> body;
  static inline const char* name = "replica";
};

replica_actor::behavior_type replica_behavior(
    replica_actor::stateful_pointer<replica_state> self, const job_context_ptr& context, std::uint32_t lane,
    std::uint64_t incarnation, const caf::actor& coordinator) {
  keep_exceptions(self);
  obey_chaos(self);
  auto& body = self->state.body;
  body = std::make_unique<replica>(self, context, lane, incarnation, coordinator);
  return {
      [&body](const begin_lane& message) { body->on(message); },
      [&body](const run_until& message) { body->on(message); },
      [&body](const pause_lane& message) { body->on(message); },
      [&body](const lane_due& message) { body->on(message); },
      [&body](lane_batch& message) { body->on(message); },
      [&body](parameters& message) { body->on(message); },
      [&body](const pull_too_late& message) { body->on(message); },
      [&body](const proceed& message) { body->on(message); },
  };
}

}  // namespace

caf::actor spawn_replica(caf::actor_system& system, const job_context_ptr& context, std::uint32_t lane,
                         std::uint64_t incarnation, caf::actor coordinator) {
  return spawn_in_lane(system, context, lane, replica_behavior, lane, incarnation, std::move(coordinator));
}

}  // namespace troupe
