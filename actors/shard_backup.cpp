#include "actors/shard_backup.hpp"

#include <algorithm>

namespace troupe {

shard_backup::shard_backup(const job_context_ptr& context, std::uint32_t shard, shard_state from)
    : memory_(context, shard), state_(std::move(from)) {
  memory_.restore({"the shard's state", {0, state_.now.version}, {}, std::move(state_.now.tensors)});
  state_.now.tensors.clear();
}

void shard_backup::receive(shard_update update) {
  for (auto& gradient : update.gradients)
    gradient = memory_.here(gradient);
  state_.pending = std::move(update);
}

void shard_backup::finish(const update_factors& factors) {
  auto update = std::move(*state_.pending);
  state_.pending.reset();
  memory_.set_mean_squares(update.mean_squares);
  memory_.update(update.gradients, factors, update.version + 1);
  auto& now = state_.now;
  now.version = update.version + 1;
  for (const auto& result : update.results) {
    now.applied[result.lane].next_step = result.step + 1;
    ++now.applied[result.lane].applied;
  }
  state_.last = factors;
  auto& results = state_.results;
  results.insert(results.end(), update.results.begin(), update.results.end());
  results.erase(results.begin(), results.end() - static_cast<std::ptrdiff_t>(std::min(results.size(), results_kept)));
  if (update.norm) {
    auto& norms = state_.norms;
    norms.push_back(std::move(*update.norm));
    norms.erase(norms.begin(), norms.end() - static_cast<std::ptrdiff_t>(std::min(norms.size(), norm_parts_kept)));
  }
}

shard_snapshot shard_backup::snapshot() {
  auto copy = state_.now;
  copy.tensors = memory_.snapshot();
  return copy;
}

shard_state shard_backup::hand_over() {
  auto whole = std::move(state_);
  whole.now.tensors = memory_.snapshot();
  return whole;
}

}  // namespace troupe
