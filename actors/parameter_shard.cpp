#include "actors/parameter_shard.hpp"

#include <algorithm>
#include <chrono>
#include <optional>

#include "actors/chaos.hpp"
#include "actors/checkpoint_writer.hpp"
#include "actors/shard_memory.hpp"
#include "models/gradient_clipping.hpp"
#include "runtime/probe.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

namespace {

using clock = std::chrono::steady_clock;

/// Steps done and gradients pending for one lane.
struct lane_state {
  std::uint64_t next_step = 0;
  std::uint64_t applied = 0;

  // The step under way: pieces of `attempt` for next_step.
  std::uint64_t attempt = 0;
  std::vector<tensor> gradients;             // by parameter of the shard; empty handles: still to come
  std::optional<complete_step> completed;

  std::vector<tensor> read;                  // values handed out for next_step; delay compensation only

  void forget_pending(std::size_t parameters) {
    gradients.assign(parameters, {});
    completed.reset();
  }
};

struct waiting_pull {
  caf::actor reader;
  pull_parameters asked;
};

class shard {
 public:
  shard(parameter_shard_actor::pointer self, job_context_ptr context, std::uint32_t index, caf::actor coordinator)
      : self_(self),
        context_(std::move(context)),
        index_(index),
        coordinator_(std::move(coordinator)),
        memory_(context_, index),
        lanes_(context_->lanes()) {}

  void on(const restore_shard& message) {
    if (ready_ && message.epoch <= epoch_)
      return;
    epoch_ = message.epoch;
    shards_ = message.shards;
    pulls_.clear();
    norms_.clear();
    results_.clear();
    closing_ = false;
    if (message.from)
      restore(*message.from);
    else
      memory_.initialize();
    for (std::uint32_t lane = 0; lane < lanes_.size(); ++lane) {
      if (!message.from)
        lanes_[lane] = {};
      lanes_[lane].forget_pending(memory_.size());
      lanes_[lane].read.clear();
    }
    if (!message.from)
      version_ = 0;
    ready_ = true;
    report();
    answer_queries();
  }

  void on(const query_lane& message) {
    queries_.push_back({caf::actor_cast<caf::actor>(self_->current_sender()), message});
    answer_queries();
  }

  void on(const pull_parameters& message) {
    if (!ready_ || message.epoch != epoch_)
      return;
    pulls_.push_back({caf::actor_cast<caf::actor>(self_->current_sender()), message});
    answer_pulls();
  }

  void on(push_gradient& message) {
    if (!accepts(message.epoch, message.lane, message.step))
      return;
    auto& lane = lanes_[message.lane];
    if (!admits(lane, message.attempt))
      return;
    const auto offset = message.first - memory_.first();
    for (std::size_t i = 0; i < message.gradients.size(); ++i)
      lane.gradients[offset + i] = std::move(message.gradients[i]);
  }

  void on(const complete_step& message) {
    if (message.epoch != epoch_ || !ready_) {
      probe("shard: a step of an older epoch was dropped");
      ++stale_dropped_;
      return;
    }
    auto& lane = lanes_[message.lane];
    if (message.step < lane.next_step || closing_) {
      probe("shard: a step that had effect before was dropped");
      ++duplicates_dropped_;
      return;
    }
    const auto whole = std::all_of(lane.gradients.begin(), lane.gradients.end(), [](const auto& g) { return bool(g); });
    if (message.step > lane.next_step || message.attempt != lane.attempt || !whole)
      return;  // of an attempt that was given up
    lane.completed = message;
    if (context_->sync())
      close_step();
    else
      apply(lane);
  }

  void on(const norm_part& message) {
    if (message.epoch != epoch_)
      return;
    norms_.push_back(message);
    finish_step();
  }

  void on(const take_snapshot& message) {
    const bool level = std::all_of(lanes_.begin(), lanes_.end(),
                                   [&](const auto& lane) { return lane.next_step == message.step; });
    if (!ready_ || message.epoch != epoch_ || !level)
      return;
    const auto begin = clock::now();
    shard_snapshot part;
    part.shard = index_;
    part.version = version_;
    for (std::uint32_t lane = 0; lane < lanes_.size(); ++lane)
      part.applied.push_back({lane, lanes_[lane].next_step, lanes_[lane].applied});
    part.tensors = memory_.snapshot();
    tell(self_, message.writer, write_part{message.epoch, message.step, std::move(part)});
    const std::chrono::duration<double> pause = clock::now() - begin;
    tell(self_, coordinator_, snapshot_taken{epoch_, message.step, index_, pause.count()});
  }

 private:
  /// Of the slowest lane.
  std::uint64_t steps_done() const noexcept {
    return std::min_element(lanes_.begin(), lanes_.end(), [](const auto& a, const auto& b) {
             return a.next_step < b.next_step;
           })->next_step;
  }

  void restore(const shard_origin& from) {
    memory_.restore(from);
    // Lanes stand level in every cut (the coordinator takes them at barriers), so another number of lanes can go on.
    for (auto& lane : lanes_)
      lane.next_step = lane.applied = from.step;
    if (from.applied.size() == lanes_.size())
      for (const auto& each : from.applied)
        lanes_[each.lane].applied = each.applied;
    version_ = context_->sync() ? from.step : from.step * lanes_.size();
  }

  bool accepts(std::uint64_t epoch, std::uint32_t lane, std::uint64_t step) const {
    return ready_ && epoch == epoch_ && !closing_ && step == lanes_[lane].next_step;
  }

  /// Whether pieces of `attempt` count; a later attempt displaces what an earlier one left.
  bool admits(lane_state& lane, std::uint64_t attempt) {
    if (attempt < lane.attempt)
      return false;
    if (attempt > lane.attempt) {
      lane.attempt = attempt;
      lane.forget_pending(memory_.size());
    }
    return true;
  }

  // -- sync: one update for all lanes ---------------------------------------------

  void close_step() {
    if (!std::all_of(lanes_.begin(), lanes_.end(), [](const auto& lane) { return lane.completed.has_value(); }))
      return;
    closing_ = true;
    std::vector<std::vector<tensor>> gradients;
    for (auto& lane : lanes_)
      gradients.push_back(std::move(lane.gradients));
    auto squares = memory_.sum_lanes(gradients, context_->clips());
    summed_ = std::move(gradients.front());
    if (context_->clips()) {
      norm_part part{epoch_, version_, index_, std::move(squares)};
      for (std::uint32_t other = 0; other < shards_.size(); ++other)
        if (other != index_)
          tell(self_, shards_[other], part);
      norms_.push_back(std::move(part));
    }
    finish_step();
  }

  /// Updates once the parts of the norm are there.
  void finish_step() {
    if (!closing_)
      return;
    std::int64_t targets = 0;
    for (const auto& lane : lanes_)
      targets += lane.completed->targets;
    auto scale = mean_over(targets);
    if (context_->clips()) {
      if (norms_.size() < shards_.size())
        return;
      std::sort(norms_.begin(), norms_.end(), [](const auto& a, const auto& b) { return a.shard < b.shard; });
      std::vector<double> squares;  // in order of the space: the same sum whatever the number of shards
      for (const auto& part : norms_)
        squares.insert(squares.end(), part.sums_of_squares.begin(), part.sums_of_squares.end());
      norms_.clear();
      scale = clip(squares, scale);
    }
    step_optimizer(summed_, scale, 1.0, version_);
    summed_.clear();
    for (auto& lane : lanes_)
      count_applied(lane);
    closing_ = false;
    finish_update();
  }

  // -- bounded, async: one update for each lane -----------------------------------

  void apply(lane_state& lane) {
    const auto& step = *lane.completed;
    staleness_ = version_ - std::min(version_, step.version_read);
    auto scale = mean_over(step.targets);
    if (context_->clips())
      scale = clip({&step.gradient_sum_of_squares, 1}, scale);
    const auto& how = context_->settings.consistency;
    auto gradients = std::move(lane.gradients);
    if (how.delay_compensation != consistency_settings::compensation_kind::none && !lane.read.empty()) {
      memory_.compensate_delay(gradients, lane.read, scale);
      scale = 1.0;
    }
    lane.read.clear();
    const auto rate_factor =
        how.staleness_scaled_rate ? 1.0 / static_cast<double>(std::max<std::uint64_t>(staleness_, 1)) : 1.0;
    step_optimizer(gradients, scale, rate_factor, version_ / lanes_.size());
    count_applied(lane);
    finish_update();
  }

  // -- both -------------------------------------------------------------------------

  /// Turns a gradient summed over targets into their mean.
  static double mean_over(std::int64_t targets) { return 1.0 / static_cast<double>(std::max<std::int64_t>(targets, 1)); }

  double clip(std::span<const double> squares, double scale) {
    const auto clipped = clip_gradient(squares, scale, context_->settings.training.clip);
    gradient_norm_ = clipped.norm;
    return clipped.scale;
  }

  void step_optimizer(std::span<const tensor> gradients, double scale, double rate_factor, std::uint64_t step) {
    const auto& settings = context_->settings;
    learning_rate_ = rate_factor * learning_rate_at(settings.schedule, settings.optimizer.learning_rate,
                                                    static_cast<std::int64_t>(step),
                                                    static_cast<std::int64_t>(settings.training.steps));
    memory_.update(gradients, {learning_rate_, scale, static_cast<std::int64_t>(version_) + 1});
    ++version_;
  }

  void count_applied(lane_state& lane) {
    const auto& step = *lane.completed;
    results_.push_back({step.lane, step.step, step.targets, step.loss_sum, step.samples});
    ++lane.next_step;
    ++lane.applied;
    lane.forget_pending(memory_.size());
  }

  void finish_update() {
    report();
    answer_pulls();
    answer_queries();
  }

  void report() {
    shard_report message{epoch_, index_, version_, std::move(results_), steps_done(), {}, duplicates_dropped_,
                         stale_dropped_, learning_rate_, gradient_norm_, staleness_};
    results_.clear();
    for (const auto& lane : lanes_)
      message.applied.push_back(lane.applied);
    tell(self_, coordinator_, std::move(message));
  }

  /// Also while the norm of a step is under way: another shard may have lost what it needs for its part of it, and
  /// gets that only from a lane that does the step again.
  void answer_queries() {
    if (!ready_)
      return;
    std::erase_if(queries_, [this](const auto& query) {
      if (query.asked.epoch > epoch_)
        return false;
      tell(self_, query.reader, lane_due{epoch_, query.asked.attempt, index_, lanes_[query.asked.lane].next_step});
      return true;
    });
  }

  bool may_read(const pull_parameters& asked) const {
    switch (context_->settings.consistency.mode) {
      case consistency_mode::sync:
        return version_ >= asked.step;
      case consistency_mode::bounded:
        return asked.step <= steps_done() + context_->settings.consistency.staleness;
      case consistency_mode::async:
        return true;
    }
    return false;
  }

  void answer_pulls() {
    std::erase_if(pulls_, [this](const auto& pull) {
      const auto done = steps_done();
      if (pull.asked.exact ? done < pull.asked.step : !may_read(pull.asked))
        return false;
      // A replica that is behind its shards finds out here: no values of the step it asks for exist any more.
      if (done > pull.asked.step && (pull.asked.exact || context_->sync()))
        tell(self_, pull.reader, pull_too_late{epoch_, pull.asked.attempt, index_, pull.asked.step});
      else
        send_values(pull);
      return true;
    });
  }

  void send_values(const waiting_pull& pull) {
    const auto values = memory_.values();
    if (!pull.asked.exact &&
        context_->settings.consistency.delay_compensation != consistency_settings::compensation_kind::none)
      lanes_[pull.asked.lane].read.assign(values.begin(), values.end());
    for (const auto& piece : context_->layout.pieces()) {
      if (piece.shard != index_)
        continue;
      const auto first = values.begin() + static_cast<std::ptrdiff_t>(piece.first - memory_.first());
      tell(self_, pull.reader,
                  parameters{epoch_, pull.asked.attempt, index_, pull.asked.step, version_, piece.block, piece.first,
                             {first, first + static_cast<std::ptrdiff_t>(piece.last - piece.first)}});
    }
  }

  struct waiting_query {
    caf::actor reader;
    query_lane asked;
  };

  parameter_shard_actor::pointer self_;
  job_context_ptr context_;
  std::uint32_t index_;
  caf::actor coordinator_;
  shard_memory memory_;
  bool ready_ = false;
  std::uint64_t epoch_ = 0;
  std::uint64_t version_ = 0;
  std::vector<caf::actor> shards_;
  std::vector<lane_state> lanes_;
  std::vector<waiting_pull> pulls_;
  std::vector<waiting_query> queries_;

  bool closing_ = false;           // sync: all lanes are in, the norm is not
  std::vector<tensor> summed_;     // sync: the lanes' gradients, summed
  std::vector<norm_part> norms_;

  std::vector<lane_result> results_;  // of the update to report
  std::uint64_t duplicates_dropped_ = 0;
  std::uint64_t stale_dropped_ = 0;
  double learning_rate_ = 0.0;
  double gradient_norm_ = 0.0;
  std::uint64_t staleness_ = 0;
};

struct shard_state {
  std::unique_ptr<shard> body;
  static inline const char* name = "parameter_shard";
};

parameter_shard_actor::behavior_type behave(parameter_shard_actor::stateful_pointer<shard_state> self,
                                            const job_context_ptr& context, std::uint32_t index,
                                            const caf::actor& coordinator) {
  keep_exceptions(self);
  obey_chaos(self);
  auto& body = self->state.body;
  body = std::make_unique<shard>(self, context, index, coordinator);
  return {
      [&body](const restore_shard& message) { body->on(message); },
      [&body](const query_lane& message) { body->on(message); },
      [&body](const pull_parameters& message) { body->on(message); },
      [&body](push_gradient& message) { body->on(message); },
      [&body](const complete_step& message) { body->on(message); },
      [&body](const norm_part& message) { body->on(message); },
      [&body](const take_snapshot& message) { body->on(message); },
  };
}

}  // namespace

caf::actor spawn_parameter_shard(caf::actor_system& system, job_context_ptr context, std::uint32_t index,
                                 caf::actor coordinator) {
  return caf::actor_cast<caf::actor>(spawn_computing(system, behave, std::move(context), index, std::move(coordinator)));
}

}  // namespace troupe
