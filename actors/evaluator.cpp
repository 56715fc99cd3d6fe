#include "actors/evaluator.hpp"

#include <chrono>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "actors/chaos.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

namespace {

/// Of one split after the other, with the parameters of one step.
class measurement {
 public:
  measurement(job_context_ptr context, std::shared_ptr<stream> on, std::uint64_t step, std::vector<tensor> values)
      : context_(std::move(context)), on_(std::move(on)), values_(std::move(values)) {
    report_.step = step;
    begin(split::train);
  }

  /// Measures one more batch; whether there are others.
  bool go_on() {
    const profiled_range range(on_->on(), [&] { return fmt::format("evaluator step {}", report_.step); });
    if (!now_->done())
      now_->measure_batch();
    if (!now_->done())
      return true;
    (part_ == split::train ? report_.train_loss : report_.validation_loss) = now_->mean();
    if (part_ == split::validation)
      return false;
    begin(split::validation);
    return true;
  }

  evaluation_report report() const {
    auto report = report_;
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    return report;
  }

 private:
  void begin(split part) {
    const auto& settings = context_->settings;
    const auto rows = settings.evaluation.batch > 0 ? settings.evaluation.batch : settings.training.batch;
    part_ = part;
    now_.emplace(context_->model(), *on_, values_, *context_->inputs.data, part, settings.training.seed,
                 settings.evaluation.batches * static_cast<std::uint64_t>(rows), rows, context_->inputs.context);
  }

  job_context_ptr context_;
  std::shared_ptr<stream> on_;
  std::vector<tensor> values_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  evaluation_report report_;
  split part_ = split::train;
  std::optional<loss_measurement> now_;
};

struct evaluator_state {
  std::uint64_t attempt = 0;
  evaluate asked;
  std::vector<tensor> values;  // by parameter
  std::size_t missing = 0;
  std::optional<measurement> under_way;
  static inline const char* name = "evaluator";
};

evaluator_actor::behavior_type evaluator_behavior(
    evaluator_actor::stateful_pointer<evaluator_state> self, const job_context_ptr& context,
    const caf::actor& coordinator) {
  keep_exceptions(self);
  obey_chaos(self);
  const std::shared_ptr<stream> on = context->make_evaluator_stream();
  return {
      [=](const evaluate& message) {
        auto& state = self->state;
        state.asked = message;
        state.missing = context->model().parameters().size();
        state.values.assign(state.missing, {});
        state.under_way.reset();
        ++state.attempt;
        for (const auto& shard : message.shards)
          tell(self, shard, pull_parameters{message.epoch, 0, message.step, true, state.attempt});
      },
      [=](parameters& message) {
        auto& state = self->state;
        if (message.attempt != state.attempt)
          return;
        for (std::size_t i = 0; i < message.values.size(); ++i)
          state.values[message.first + i] = std::move(message.values[i]);
        state.missing -= message.values.size();
        if (state.missing > 0)
          return;
        tell(self, coordinator, evaluation_started{state.asked.epoch, state.asked.step});
        state.under_way.emplace(context, on, state.asked.step, as_computed_with(*on, state.values));
        state.values.clear();
        self->send(self, measure_more{state.attempt});
      },
      [=](const measure_more& message) {
        auto& state = self->state;
        if (message.attempt != state.attempt)
          return;
        if (state.under_way->go_on())
          return self->send(self, measure_more{state.attempt});
        const auto report = state.under_way->report();
        state.under_way.reset();
        tell(self, coordinator, evaluation_done{state.asked.epoch, report});
      },
      [](const pull_too_late&) {
        // The coordinator asks only at steps where all lanes stand: a rollback overtook the request, and it asks anew.
      },
  };
}

}  // namespace

caf::actor spawn_evaluator(caf::actor_system& system, job_context_ptr context, caf::actor coordinator) {
  return caf::actor_cast<caf::actor>(
      spawn_computing(system, evaluator_behavior, std::move(context), std::move(coordinator)));
}

}  // namespace troupe
