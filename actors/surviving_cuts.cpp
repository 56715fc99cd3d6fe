#include "actors/surviving_cuts.hpp"

#include <utility>

#include "actors/kept_cuts.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

void surviving_cuts::serve(const inheritance& which) {
  const std::lock_guard lock(mutex_);
  if (which.run != std::exchange(run_, which.run))
    parts_.clear();
  for (auto& [shard, cuts] : parts_)
    std::erase_if(cuts, [&](const auto& each) { return each.first != which.cut; });
  std::erase_if(parts_, [](const auto& each) { return each.second.empty(); });
}

void surviving_cuts::leave(std::uint32_t shard, held_part part) {
  const std::lock_guard lock(mutex_);
  auto& cuts = parts_[shard];
  const auto cut = part.cut;
  cuts.insert_or_assign(cut, std::move(part));
  if (cuts.size() > kept_cuts_max)
    cuts.erase(cuts.begin());
}

std::optional<held_part> surviving_cuts::find(std::uint32_t shard, std::uint64_t step) const {
  const std::lock_guard lock(mutex_);
  if (const auto found = parts_.find(shard); found != parts_.end())
    for (const auto& [cut, held] : found->second)
      if (cut.step == step)
        return held;
  return {};
}

std::vector<std::uint32_t> surviving_cuts::shards() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::uint32_t> all;
  for (const auto& [shard, cuts] : parts_)
    all.push_back(shard);
  return all;
}

void surviving_cuts::clear() {
  const std::lock_guard lock(mutex_);
  parts_.clear();
}

namespace {

survivor_actor::behavior_type survivor_behavior(
    survivor_actor::pointer self, const job_context_ptr& context, const caf::actor& coordinator) {
  keep_exceptions(self);
  self->set_down_handler([self](const caf::down_msg&) { self->quit(); });
  self->monitor(coordinator);
  return {
      [=](const fetch_cut& message) {
        tell(self, caf::actor_cast<caf::actor>(self->current_sender()),
             kept_part{message.epoch, context->survivors->find(message.shard, message.step)});
      },
  };
}

}  // namespace

caf::actor spawn_survivor(caf::actor_system& system, job_context_ptr context, caf::actor coordinator) {
  return caf::actor_cast<caf::actor>(system.spawn(survivor_behavior, std::move(context), std::move(coordinator)));
}

}  // namespace troupe
