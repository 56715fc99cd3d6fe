#include "actors/keeper.hpp"

#include <map>

#include "actors/chaos.hpp"
#include "actors/kept_cuts.hpp"
#include "actors/shard_backup.hpp"
#include "actors/surviving_cuts.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

namespace {

class keeper {
 public:
  keeper(keeper_actor::pointer self, job_context_ptr context, std::uint32_t shard, caf::actor coordinator)
      : self_(self), context_(std::move(context)), shard_(shard), coordinator_(std::move(coordinator)) {}

  // -- cuts ---------------------------------------------------------------------------

  void on(keep_cut& message) {
    if (!rises(message.epoch))
      return;
    if (!message.part) {
      if (!backup_ || backup_->waits_for_factors())
        return;
      message.part = backup_->snapshot();
    }
    const auto step = message.cut.step;
    cuts_.erase(cuts_.lower_bound(step), cuts_.end());
    cuts_[step] = hold(message.cut, std::move(*message.part));
    if (cuts_.size() > kept_cuts_max)
      cuts_.erase(cuts_.begin());
    tell(self_, coordinator_, cut_kept{message.epoch, step, shard_});
  }

  void on(const fetch_cut& message) {
    const auto found = cuts_.find(message.step);
    tell(self_, sender(), kept_part{message.epoch, found == cuts_.end() ? std::nullopt : std::optional(found->second)});
  }

  void on(const drop_cuts& message) { cuts_.erase(cuts_.begin(), cuts_.lower_bound(message.before)); }

  // -- the shard's backup ---------------------------------------------------------------

  void on(begin_backup_of& message) {
    if (!rises(message.epoch))
      return;
    backup_.reset();
    backup_.emplace(context_, shard_, std::move(message.state));
    tell(self_, sender(), backup_ready{epoch_});
  }

  void on(backup_update& message) {
    if (!backup_ || message.epoch != epoch_)
      return;
    tell(self_, sender(), update_received{epoch_});  // it is here; what is left needs nobody else
    backup_->receive(std::move(message.update));
    if (message.factors)
      backup_->finish(*message.factors);
  }

  void on(const backup_factors& message) {
    if (backup_ && message.epoch == epoch_ && backup_->waits_for_factors())
      backup_->finish(message.factors);
  }

  void on(const fetch_state& message) {
    kept_state answer{message.epoch, {}, {}};
    if (backup_ && message.epoch == epoch_) {
      answer.state = backup_->hand_over();
      backup_.reset();
      if (!cuts_.empty())
        answer.cut = cuts_.rbegin()->second;
    }
    tell(self_, sender(), std::move(answer));
  }

  void before_end(const caf::error& reason) {
    if (context_->survivors && is(reason, errc::head_lost))
      for (auto& [step, held] : cuts_)
        context_->survivors->leave(shard_, std::move(held));
  }

 private:
  caf::actor sender() const { return caf::actor_cast<caf::actor>(self_->current_sender()); }

  /// What was followed in an earlier epoch is the past.
  bool rises(std::uint64_t epoch) {
    if (epoch > epoch_) {
      epoch_ = epoch;
      backup_.reset();
    }
    return epoch == epoch_;
  }

  keeper_actor::pointer self_;
  job_context_ptr context_;
  std::uint32_t shard_;
  caf::actor coordinator_;
  std::uint64_t epoch_ = 0;
  std::map<std::uint64_t, held_part> cuts_;  // by step
  std::optional<shard_backup> backup_;
};

struct keeper_state {
  std::unique_ptr<keeper> body;
  static inline const char* name = "keeper";
};

keeper_actor::behavior_type keeper_behavior(
    keeper_actor::stateful_pointer<keeper_state> self, const job_context_ptr& context, std::uint32_t shard,
    const caf::actor& coordinator) {
  keep_exceptions(self);
  auto& body = self->state.body;
  obey_chaos(self, [&body](const caf::error& reason) { body->before_end(reason); });
  body = std::make_unique<keeper>(self, context, shard, coordinator);
  return {
      [&body](keep_cut& message) { body->on(message); },
      [&body](const fetch_cut& message) { body->on(message); },
      [&body](const drop_cuts& message) { body->on(message); },
      [&body](begin_backup_of& message) { body->on(message); },
      [&body](backup_update& message) { body->on(message); },
      [&body](const backup_factors& message) { body->on(message); },
      [&body](const fetch_state& message) { body->on(message); },
  };
}

}  // namespace

caf::actor spawn_keeper(caf::actor_system& system, job_context_ptr context, std::uint32_t shard,
                        caf::actor coordinator) {
  return caf::actor_cast<caf::actor>(
      spawn_computing(system, keeper_behavior, std::move(context), shard, std::move(coordinator)));
}

}  // namespace troupe
