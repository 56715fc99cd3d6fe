#include "actors/evaluator.hpp"

#include <chrono>

#include <fmt/format.h>

#include "actors/chaos.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

namespace {

struct evaluator_state {
  std::uint64_t attempt = 0;
  evaluate asked;
  std::vector<tensor> values;  // by parameter
  std::size_t missing = 0;
  static inline const char* name = "evaluator";
};

evaluation_report measure(const job_context& context, stream& on, std::uint64_t step, std::span<const tensor> values) {
  const auto& settings = context.settings;
  const auto rows = settings.evaluation.batch > 0 ? settings.evaluation.batch : settings.training.batch;
  const profiled_range range(on.on(), [&] { return fmt::format("evaluator step {}", step); });
  const auto begin = std::chrono::steady_clock::now();
  const auto loss = [&](split part) {
    return mean_loss(context.model(), on, values, *context.inputs.data, part, settings.training.seed,
                     settings.evaluation.batches, rows, context.inputs.context);
  };
  evaluation_report report;
  report.step = step;
  report.train_loss = loss(split::train);
  report.validation_loss = loss(split::validation);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return report;
}

evaluator_actor::behavior_type behave(evaluator_actor::stateful_pointer<evaluator_state> self,
                                      const job_context_ptr& context, const caf::actor& coordinator) {
  keep_exceptions(self);
  obey_chaos(self);
  const std::shared_ptr<stream> on = context->make_evaluator_stream();
  return {
      [=](const evaluate& message) {
        auto& state = self->state;
        state.asked = message;
        state.missing = context->model().parameters().size();
        state.values.assign(state.missing, {});
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
        const auto values = as_computed_with(*on, state.values);
        state.values.clear();
        auto report = measure(*context, *on, state.asked.step, values);
        tell(self, coordinator, evaluation_done{state.asked.epoch, report});
      },
      [](const pull_too_late&) {
        // The coordinator asks only at steps where all lanes stand: a rollback overtook the request, and it asks anew.
      },
  };
}

}  // namespace

caf::actor spawn_evaluator(caf::actor_system& system, job_context_ptr context, caf::actor coordinator) {
  return caf::actor_cast<caf::actor>(spawn_computing(system, behave, std::move(context), std::move(coordinator)));
}

}  // namespace troupe
