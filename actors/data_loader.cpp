#include "actors/data_loader.hpp"

#include <map>

#include "actors/chaos.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

lane_batch read_lane(const job_context& context, std::uint32_t lane, std::uint64_t step) {
  const auto& training = context.settings.training;
  const auto rows = static_cast<std::uint64_t>(context.rows());
  lane_batch all{step, {}, {}};
  for (std::uint64_t micro = 0; micro < training.accumulation; ++micro) {
    const auto first = step * static_cast<std::uint64_t>(training.batch) + (micro * training.lanes + lane) * rows;
    all.micro_batches.push_back(read_batch(*context.inputs.data, split::train, training.seed, first, context.rows(),
                                           context.inputs.context));
    all.samples.push_back({first, rows});
  }
  return all;
}

namespace {

struct loader_state {
  std::map<std::uint64_t, lane_batch> ahead;  // by step
  std::uint32_t lane = 0;
  std::uint64_t next = 0;  // first step not read yet
  std::uint64_t until = 0;
  static inline const char* name = "data_loader";
};

data_loader_actor::behavior_type data_loader_behavior(
    data_loader_actor::stateful_pointer<loader_state> self, const job_context_ptr& context) {
  keep_exceptions(self);
  obey_chaos(self);
  return {
      [=](const read_lane_batch& asked) {
        auto& state = self->state;
        state.lane = asked.lane;
        state.ahead.erase(state.ahead.begin(), state.ahead.lower_bound(asked.step));
        const auto reader = caf::actor_cast<caf::actor>(self->current_sender());
        if (const auto found = state.ahead.find(asked.step); found != state.ahead.end()) {
          tell(self, reader, std::move(found->second));
          state.ahead.erase(found);
        } else {
          state.ahead.clear();  // the lane went back: what was read ahead belongs to later steps
          tell(self, reader, read_lane(*context, asked.lane, asked.step));
          state.next = asked.step + 1;
        }
        const bool idle = state.next >= state.until;  // else a read_ahead is on its way
        state.until = asked.step + 1 + context->settings.runtime.prefetch;
        if (idle && state.next < state.until)
          self->send(self, read_ahead{});
      },
      [=](const read_ahead&) {
        auto& state = self->state;
        if (state.next >= state.until)
          return;
        state.ahead.emplace(state.next, read_lane(*context, state.lane, state.next));
        if (++state.next < state.until)
          self->send(self, read_ahead{});
      },
  };
}

}  // namespace

caf::actor spawn_data_loader(caf::actor_system& system, job_context_ptr context) {
  return caf::actor_cast<caf::actor>(system.spawn(data_loader_behavior, std::move(context)));
}

}  // namespace troupe
