#pragma once

/// A job small enough to be simulated thousands of times, and what every run of it must hold.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "actors/job.hpp"
#include "actors/parameter_shard.hpp"
#include "actors/role.hpp"
#include "models/transformer.hpp"

namespace troupe {

inline constexpr std::uint64_t steps = 8;
inline constexpr std::uint32_t lanes = 2;

inline job_inputs tiny_inputs() {
  transformer_settings settings;
  settings.vocabulary = 11;
  settings.context = 4;
  settings.layers = 1;
  settings.heads = 2;
  settings.channels = 8;
  settings.feed_forward_channels = 8;
  settings.dropout = 0.1;  // its randomness must not depend on who computes
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < 300; ++i)
    tokens.push_back((i * i + i / 7) % 11);
  job_inputs inputs;
  inputs.model = std::make_shared<const model>(make_transformer(settings));
  inputs.data = make_token_dataset(std::move(tokens), settings.vocabulary);
  inputs.context = settings.context;
  return inputs;
}

inline job_settings tiny_settings(consistency_mode mode, std::uint32_t shards) {
  job_settings settings;
  settings.training.steps = steps;
  settings.training.lanes = lanes;
  settings.training.batch = 4;
  settings.training.accumulation = 2;
  settings.training.clip = 0.05;  // below the norms that occur, so that it acts
  settings.consistency.mode = mode;
  settings.consistency.staleness = 1;
  settings.runtime.shards = shards;
  settings.runtime.device = "reference";
  settings.evaluation.every = 4;
  settings.evaluation.batches = 1;
  settings.checkpoint.every = 3;
  settings.checkpoint.flush = false;
  settings.supervision.intensity = 1'000;
  settings.supervision.stall_after = std::chrono::milliseconds{0};  // a stall must show, not mend itself
  settings.runtime.rebalance_after = std::chrono::milliseconds{0};  // nobody's speed is known
  settings.supervision.stop_within = std::chrono::milliseconds{0};  // likewise
  return settings;
}

/// Silent, except in the replay of a seed.
inline job_observer telling_observer() {
  job_observer observer;
  if (std::getenv("TROUPE_SEED") != nullptr) {  // a replay tells what happens
    observer.on_event = [](const child_event& e) { MESSAGE(e.child << " " << int(e.what) << " " << e.explanation); };
    observer.on_step = [](const step_report& r) { MESSAGE("step " << r.step << " loss " << r.loss); };
    observer.on_cut = [](const cut_report& r) { MESSAGE("cut " << r.step); };
    observer.on_evaluation = [](const evaluation_report& r) { MESSAGE("evaluation " << r.step); };
    observer.on_restore = [](const restore_report& r) {
      MESSAGE("shard " << r.shard << " restored to " << r.step << " from " << std::string(to_string(r.source)));
    };
    observer.on_rollback = [](std::uint64_t step) { MESSAGE("rollback to " << step); };
    observer.on_warning = [](const std::string& text) { MESSAGE(text); };
  }
  return observer;
}

/// Follows what each shard applies, as it tells: of every lane one step after the other, each once, from where it was
/// restored, and computed on the samples that are due (P1, P4); in bounded mode at most `staleness` steps beyond the
/// slowest lane's.
class effects {
 public:
  explicit effects(const job_settings& settings)
      : training_(settings.training),
        next_(settings.runtime.shards),
        is_new_(settings.runtime.shards),
        ahead_(settings.consistency.mode == consistency_mode::bounded ? settings.consistency.staleness + 1 : 0) {}

  void note(const child_event& event) {
    if (const auto who = role_of(event.child); who.kind == role_kind::shard && event.what == child_event::kind::started)
      is_new_[who.index] = true;
  }

  void note(const shard_report& report) {
    auto& next = next_[report.shard];
    CAPTURE(report.shard);
    // It was restored; or took over from a backup, and repeats what the shard before may not have told.
    if (std::exchange(is_new_[report.shard], false) || report.results.empty()) {
      next = report.applied;
      return;
    }
    for (const auto& result : report.results) {
      REQUIRE(result.step == next[result.lane]);
      if (!ahead_.empty()) {
        const auto ahead = result.step - *std::min_element(next.begin(), next.end());
        REQUIRE(ahead < ahead_.size());
        ++ahead_[ahead];
      }
      ++next[result.lane];
      REQUIRE(result.samples == due(result.lane, result.step));
    }
    REQUIRE(report.applied == next);
  }

  /// Bounded mode: how many updates were of a lane 0, 1, ... `staleness` steps ahead of the slowest.
  const std::vector<std::uint64_t>& ahead() const { return ahead_; }

  void require_all(std::uint64_t steps_due) const {
    for (const auto& next : next_)
      CHECK(next == std::vector<std::uint64_t>(training_.lanes, steps_due));
  }

 private:
  std::vector<sample_range> due(std::uint32_t lane, std::uint64_t step) const {
    const auto rows = static_cast<std::uint64_t>(training_.batch) / training_.lanes / training_.accumulation;
    std::vector<sample_range> all;
    for (std::uint64_t micro = 0; micro < training_.accumulation; ++micro)
      all.push_back({(step * training_.accumulation + micro) * training_.lanes * rows + lane * rows, rows});
    return all;
  }

  training_settings training_;
  std::vector<std::vector<std::uint64_t>> next_;  // by shard and lane
  std::vector<char> is_new_;                      // by shard: its next report is the first of an incarnation
  std::vector<std::uint64_t> ahead_;
};

/// Tells of what happens in the replay of a seed, and always the shards' effects.
inline job_observer following(effects& all) {
  auto observer = telling_observer();
  observer.on_update = [&all](const shard_report& report) { all.note(report); };
  observer.on_event = [&all, tell = observer.on_event](const child_event& event) {
    all.note(event);
    if (tell)
      tell(event);
  };
  return observer;
}

inline void require_exactly_once(const job_summary& summary, std::uint64_t due) {
  for (const auto& shard : summary.shards) {
    REQUIRE(shard.applied.size() == lanes);
    for (const auto applied : shard.applied)
      CHECK(applied == due);
  }
}

}  // namespace troupe
