/// The training protocol under any order of events and any deaths: P1 (exactly once), P2 (same answer), P3 (nobody
/// hangs). Pulls, pushes, cuts, evaluations, rollbacks, replays, stops and resumes of a whole job with a tiny
/// transformer, on one thread and in virtual time.

#include <memory>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "actors/coordinator.hpp"
#include "actors/job_root.hpp"
#include "runtime/probe.hpp"
#include "tests/scratch_folder.hpp"
#include "tests/seeds.hpp"
#include "tests/simulation/simulator.hpp"
#include "tests/simulation/tiny_job.hpp"

namespace troupe {

namespace {

struct result {
  simulator::outcome outcome = simulator::outcome::quiet;
  bool done = false;
  std::uint64_t killed = 0;
  job_summary summary;
  std::vector<std::uint64_t> ahead;  ///< see effects
  std::vector<std::string> warnings;
  std::vector<std::uint64_t> evaluated;  ///< steps
};

struct disturbance {
  std::uint64_t kills_max = 0;
  std::uint64_t stop_after = 0;  ///< simulator steps; 0: never
  bool lane_stuck = false;       ///< in the first epoch a lane says so
  std::string slow{};            ///< who rarely takes its turn
};

result simulate(std::uint64_t seed, const job_inputs& inputs, const job_settings& settings, disturbance what = {}) {
  const auto context = make_job_context(inputs, settings);
  effects applied(settings);
  result found;
  auto observer = following(applied);
  observer.on_warning = [&](const std::string& text) { found.warnings.push_back(text); };
  observer.on_evaluation = [&](const evaluation_report& report) { found.evaluated.push_back(report.step); };
  const auto log = std::make_shared<job_log>(*context, std::move(observer));
  simulator sim{seed};
  const auto done = std::make_shared<bool>(false);
  const auto listener = sim.system().spawn(
      [done](caf::event_based_actor*) -> caf::behavior { return {[done](const job_done&) { *done = true; }}; });
  const auto names = spawn_directory(sim.system());
  const auto root = spawn_job(sim.system(), context, log, names, listener, everybody_here(context));
  sim.observe(names);
  // A root that cannot start is an honest failure of the whole job, and not what is tried here.
  sim.set_slowness(0.0);
  sim.run_until([&] { return sim.lives("coordinator"); });
  sim.set_slowness(simulator_options{}.slowness);
  if (!what.slow.empty())
    sim.slow_down(what.slow, 0.02);
  if (what.kills_max > 0)
    sim.kill_at_random(names, {{"shard/", "replica/", "loader/", "evaluator", "checkpoint_writer", "coordinator"},
                               what.kills_max,
                               0.01});
  if (what.stop_after > 0) {
    sim.run_until([&] { return *done || sim.steps() >= what.stop_after; });
    const auto entry = sim.ask<directory_entry>(names, resolve_name{"coordinator"});
    if (entry.handle)
      caf::anon_send(entry.handle, stop_job{});
  }
  if (what.lane_stuck) {
    const auto entry = sim.ask<directory_entry>(names, resolve_name{"coordinator"});
    sim.run_until([&] { return log->summary().steps > 0; });
    caf::anon_send(entry.handle, lane_stuck{1, 0});
  }
  found.outcome = sim.run_until([&] { return *done; });
  found.done = *done;
  found.killed = sim.killed();
  found.summary = log->summary();
  found.ahead = applied.ahead();
  if (*done)
    applied.require_all(found.summary.steps);
  return found;
}

/// What the job gives when nothing disturbs it and one shard holds everything.
const std::string& undisturbed() {
  static const std::string print = [] {
    const auto plain = simulate(1, tiny_inputs(), tiny_settings(consistency_mode::sync, 1));
    REQUIRE(plain.done);
    return plain.summary.fingerprint;
  }();
  return print;
}

constexpr std::uint32_t shard_counts[] = {1, 2, 5};

}  // namespace

TEST_CASE("sync: the same bits for any number of shards and any order of events") {
  const auto inputs = tiny_inputs();
  for_each_seed(30, [&](std::uint64_t seed) {
    const auto plain = simulate(seed, inputs, tiny_settings(consistency_mode::sync, shard_counts[seed % 3]));
    REQUIRE(plain.done);
    CHECK(plain.summary.steps == steps);
    CHECK(plain.summary.replays == 0);
    CHECK(plain.summary.fingerprint == undisturbed());
    require_exactly_once(plain.summary, steps);
  });
}

TEST_CASE("sync: the same bits whoever is killed, and when") {
  auto inputs = tiny_inputs();
  std::uint64_t killed = 0, rollbacks = 0, replays = 0;
  for_each_seed(150, [&](std::uint64_t seed) {
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    const auto hit = simulate(seed, inputs, tiny_settings(consistency_mode::sync, shard_counts[seed % 3]), {4});
    REQUIRE(hit.done);
    CHECK(hit.summary.fingerprint == undisturbed());
    require_exactly_once(hit.summary, steps);
    killed += hit.killed;
    rollbacks += hit.summary.rollbacks;
    replays += hit.summary.replays;
  });
  if (std::getenv("TROUPE_SEED") == nullptr) {
    CHECK(killed > 0);
    CHECK(rollbacks > 0);
    CHECK(replays > 0);
  }
}

TEST_CASE("sync: a lane whose shards name different steps for good says so, and all shards go back together") {
  const auto context = make_job_context(tiny_inputs(), tiny_settings(consistency_mode::sync, 2));
  simulator sim{1};
  const auto shard = [&](std::uint32_t index) {
    return sim.system().spawn([index](caf::event_based_actor* self) -> caf::behavior {
      return {[=](const query_lane& asked) {
        tell(self, caf::actor_cast<caf::actor>(self->current_sender()), lane_due{asked.epoch, asked.attempt, index, index});
      }};
    });
  };
  const auto told = std::make_shared<bool>(false);
  const auto listener = sim.system().spawn(
      [told](caf::event_based_actor*) -> caf::behavior { return {[told](const lane_stuck&) { *told = true; }}; });
  const auto lane = spawn_replica(sim.system(), context, 0, 1, listener);
  caf::anon_send(lane, begin_lane{1, steps, {shard(0), shard(1)}, listener});
  CHECK(sim.run_until([&] { return *told; }) == simulator::outcome::done);
  send_exit(lane, caf::exit_reason::kill);

  const auto hit = simulate(1, tiny_inputs(), tiny_settings(consistency_mode::sync, 2), {.lane_stuck = true});
  REQUIRE(hit.done);
  CHECK(hit.summary.rollbacks == 1);
  CHECK(hit.summary.fingerprint == undisturbed());
  require_exactly_once(hit.summary, steps);
}

TEST_CASE("bounded and async: every gradient has effect once, whoever is killed, and when") {
  auto inputs = tiny_inputs();
  std::uint64_t duplicates = 0;
  for_each_seed(150, [&](std::uint64_t seed) {
    const auto mode = seed % 2 == 0 ? consistency_mode::bounded : consistency_mode::async;
    auto settings = tiny_settings(mode, shard_counts[seed % 3]);
    if (seed % 5 == 0)
      settings.consistency.delay_compensation = consistency_settings::compensation_kind::adaptive;
    settings.consistency.staleness_scaled_rate = seed % 7 == 0;
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    const auto hit = simulate(seed, inputs, settings, {4});
    REQUIRE(hit.done);
    CHECK(hit.summary.steps == steps);
    require_exactly_once(hit.summary, steps);
    for (const auto& shard : hit.summary.shards)
      duplicates += shard.duplicates_dropped;
  });
  if (std::getenv("TROUPE_SEED") == nullptr)
    CHECK(duplicates > 0);
}

TEST_CASE("bounded: the fastest lane is as many steps ahead as it may and no more, whoever is slow or killed") {
  auto inputs = tiny_inputs();
  std::vector<std::uint64_t> at_bound(3), killed(2);
  for_each_seed(120, [&](std::uint64_t seed) {
    auto settings = tiny_settings(consistency_mode::bounded, shard_counts[seed % 3]);
    settings.consistency.staleness = 1 + seed % 3;
    settings.checkpoint.every = 6;  // where lanes meet
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    const auto with_kills = seed % 2;
    const auto hit = simulate(seed, inputs, settings,
                              {.kills_max = with_kills * 3, .slow = fmt::format("replica/{}", seed / 2 % lanes)});
    REQUIRE(hit.done);  // what lies beyond the bound has failed by now: see effects
    require_exactly_once(hit.summary, steps);
    at_bound[seed % 3] += hit.ahead.back() > 0;
    killed[with_kills] += hit.killed;
  });
  if (std::getenv("TROUPE_SEED") == nullptr) {
    for (const auto seeds : at_bound)
      CHECK(seeds > 0);
    CHECK(killed[0] == 0);
    CHECK(killed[1] > 0);
  }
}

TEST_CASE("async: each setting for stale gradients changes what a job learns; the same settings give the same bits") {
  using kind = consistency_settings::compensation_kind;
  struct rule {
    kind compensation = kind::none;
    double lambda = 0.5, decay = 0.5;
    bool scaled_rate = false;
  };
  std::set<std::string> prints;
  const rule rules[] = {{},
                        {.scaled_rate = true},
                        {.compensation = kind::constant},
                        {.compensation = kind::constant, .lambda = 0.25},
                        {.compensation = kind::adaptive},
                        {.compensation = kind::adaptive, .decay = 0.75}};
  for (const auto& each : rules) {
    auto settings = tiny_settings(consistency_mode::async, 2);
    settings.consistency.delay_compensation = each.compensation;
    settings.consistency.compensation_lambda = each.lambda;
    settings.consistency.compensation_decay = each.decay;
    settings.consistency.staleness_scaled_rate = each.scaled_rate;
    const auto learned = [&] {
      const auto found = simulate(1, tiny_inputs(), settings, {.slow = "replica/1"});
      REQUIRE(found.done);
      return found.summary.fingerprint;
    };
    const auto print = learned();
    CHECK(learned() == print);
    CHECK(prints.insert(print).second);
  }
}

TEST_CASE("a cut that is due before the last one is on disk holds training up, and the run says so, once") {
  auto inputs = tiny_inputs();
  for_each_seed(10, [&](std::uint64_t seed) {
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    auto settings = tiny_settings(consistency_mode::sync, 2);
    settings.checkpoint.every = 1;
    const auto held = simulate(seed, inputs, settings, {.slow = "checkpoint_writer"});
    REQUIRE(held.done);
    CHECK(held.summary.fingerprint == undisturbed());
    REQUIRE(held.warnings.size() == 1);
    CHECK(held.warnings.front().find("checkpoint.every = 1 is too few steps") != std::string::npos);
  });
}

TEST_CASE("a job that is stopped anywhere and resumed gives the same bits, and evaluates each step once") {
  auto inputs = tiny_inputs();
  for_each_seed(60, [&](std::uint64_t seed) {
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    inputs.resume = false;
    inputs.evaluated = std::nullopt;
    const auto kills = seed % 2 * 2;
    const auto first = simulate(seed, inputs, tiny_settings(consistency_mode::sync, shard_counts[seed % 3]),
                                {kills, 1 + seed * 37 % 2'000});
    REQUIRE(first.done);
    require_exactly_once(first.summary, first.summary.steps);
    inputs.resume = true;
    if (!first.evaluated.empty())
      inputs.evaluated = first.evaluated.back();
    // With another number of shards than the cut was written with.
    const auto second = simulate(seed, inputs, tiny_settings(consistency_mode::sync, shard_counts[(seed + 1) % 3]));
    REQUIRE(second.done);
    CHECK(second.summary.first_step == first.summary.steps);
    CHECK(second.summary.steps == steps);
    CHECK(second.summary.fingerprint == undisturbed());
    if (kills == 0) {  // else a rollback may repeat an evaluation, or lose it
      auto evaluated = first.evaluated;
      evaluated.insert(evaluated.end(), second.evaluated.begin(), second.evaluated.end());
      std::vector<std::uint64_t> expected{4, steps};
      if (inputs.evaluated == steps)
        expected.push_back(steps);  // a run that was over tells its last losses again
      CHECK(evaluated == expected);
    }
  });
}

}  // namespace troupe
