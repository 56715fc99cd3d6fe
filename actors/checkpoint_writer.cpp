#include "actors/checkpoint_writer.hpp"

#include <chrono>
#include <exception>
#include <set>

#include "actors/chaos.hpp"
#include "actors/job_journal.hpp"
#include "runtime/background.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

namespace {

struct writer_state {
  std::uint64_t epoch = 0;
  std::uint64_t step = 0;
  std::set<std::uint32_t> written;  // shards of the cut at `step`
  std::size_t size_bytes = 0;
  std::chrono::steady_clock::duration spent{0};

  void forget_cut() {
    written.clear();
    size_bytes = 0;
    spent = {};
  }

  static inline const char* name = "checkpoint_writer";
};

bool owns_run(const job_context& context) { return !context.journal || context.journal->is_ours(); }

void write(checkpoint_writer_actor::stateful_pointer<writer_state> self, const job_context& context,
           const caf::actor& coordinator, const write_part& message) {
  auto& state = self->state;
  const auto begin = std::chrono::steady_clock::now();
  run_in_background([&] { state.size_bytes += context.store->write_shard(message.step, message.part); });
  state.written.insert(message.part.shard);
  if (state.written.size() < context.layout.shard_count()) {
    state.spent += std::chrono::steady_clock::now() - begin;
    return;
  }
  if (!owns_run(context))
    return;
  cut_manifest manifest;
  manifest.step = message.step;
  manifest.epoch = message.epoch;
  manifest.shard_count = context.layout.shard_count();
  manifest.documents = context.inputs.documents;
  manifest.documents["data"] = context.inputs.data->fingerprint();
  if (context.settings.repeats_exactly() && !context.arithmetic.empty())
    manifest.documents["arithmetic"] = context.arithmetic;
  std::filesystem::path path;
  run_in_background([&] { path = context.store->publish(manifest); });
  const std::chrono::duration<double> seconds = state.spent + (std::chrono::steady_clock::now() - begin);
  tell(self, coordinator, cut_published{state.epoch, state.step, path, state.size_bytes, seconds.count()});
  state.forget_cut();
}

checkpoint_writer_actor::behavior_type checkpoint_writer_behavior(
    checkpoint_writer_actor::stateful_pointer<writer_state> self, const job_context_ptr& context,
    const caf::actor& coordinator) {
  keep_exceptions(self);
  obey_chaos(self);
  discard_unpublished(*context);
  return {
      [=](const write_part& message) {
        auto& state = self->state;
        if (message.epoch < state.epoch || !owns_run(*context))
          return;
        if (message.epoch > state.epoch || message.step != state.step) {
          if (!state.written.empty())
            discard_unpublished(*context);
          state.forget_cut();
          state.epoch = message.epoch;
          state.step = message.step;
        }
        try {
          write(self, *context, coordinator, message);
        } catch (...) {
          const auto reason = to_error(std::current_exception());
          if (!is(reason, errc::system_failure))
            throw;
          discard_unpublished(*context);
          state.forget_cut();
          tell(self, coordinator, cut_failed{state.epoch, state.step, root_cause(reason)});
        }
      },
  };
}

}  // namespace

void discard_unpublished(const job_context& context) {
  if (context.store && owns_run(context))
    context.store->discard_unpublished();
}

caf::actor spawn_checkpoint_writer(caf::actor_system& system, job_context_ptr context, caf::actor coordinator) {
  return caf::actor_cast<caf::actor>(
      spawn_computing(system, checkpoint_writer_behavior, std::move(context), std::move(coordinator)));
}

}  // namespace troupe
