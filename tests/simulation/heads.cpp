/// Heads that die, among the other disturbances, and are taken over for: nodes that outlive them find the next, which goes
/// on from the newest cut that they and the disk have whole. P1 (exactly once), P2 (same answer), P3 (nobody hangs).

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include <doctest/doctest.h>

#include "actors/job_journal.hpp"
#include "runtime/probe.hpp"
#include "tests/scratch_folder.hpp"
#include "tests/seeds.hpp"
#include "tests/simulation/cluster.hpp"
#include "tests/simulation/rare_paths.hpp"

namespace troupe {

namespace {

struct run_options {
  std::size_t nodes = 3;
  int deaths = 1;            ///< of heads, at most
  std::uint64_t faults = 0;  ///< of other kinds, under each head at most
};

struct outcome {
  bool done = false;
  job_summary summary;
  std::uint64_t deaths = 0;
  std::uint64_t past_the_disk = 0;  ///< heads that went on from a later cut than the disk had
};

/// One run's folder, and the heads that own it one after the other.
class run {
 public:
  run(const job_inputs& inputs, const job_settings& settings, run_options how)
      : inputs_(inputs), settings_(settings), how_(how) {
    inputs_.checkpoints = folder_.path() / "checkpoints";
  }

  outcome simulate(std::uint64_t seed) {
    effects applied(settings_);
    simulator sim{seed, {.steps_max = 4'000'000}};
    simulated_cluster nodes(sim, take_over(false));
    nodes.slow_down_disk();
    outcome found;
    std::uint64_t on_disk = 0;  // when the present head took over
    const auto note_head = [&] {
      const auto first = nodes.summary().first_step;
      REQUIRE((first == 0 || first >= on_disk));  // 0: it did not come to restore anybody
      found.past_the_disk += first > on_disk;
    };
    for (std::size_t i = 0; i < how_.nodes; ++i)
      nodes.add_node();
    sim.set_slowness(0.0);
    REQUIRE(sim.run_until([&] { return nodes.ready() == how_.nodes; }) == simulator::outcome::done);
    for (int left = how_.deaths;; --left) {
      nodes.start_job(following(applied));
      sim.run_until([&] { return sim.lives("coordinator"); });
      sim.set_slowness(simulator_options{}.slowness);
      if (left == 0 || lives_to_the_end(sim, nodes))
        break;
      note_head();
      nodes.kill_head();
      ++found.deaths;
      on_disk = newest_on_disk();
      pass(sim, nodes, sim.draw(1'500));
      nodes.succeed_head(take_over(true));
      sim.set_slowness(0.0);
      const auto patience = sim.steps() + sim.draw(30'000);
      nodes.run_until([&] {
        return nodes.ready() > 0 &&
               (sim.steps() > patience || shards_not_kept(nodes.head().board(), *context_).empty());
      });
      REQUIRE(nodes.ready() > 0);  // all who will come
    }
    found.done = nodes.run_until([&] { return nodes.done(); });
    nodes.finish();
    note_head();
    if (found.done)
      applied.require_all(nodes.summary().steps);
    found.summary = nodes.summary();
    return found;
  }

 private:
  job_context_ptr take_over(bool resume) {
    auto mine = *make_job_context(inputs_, settings_);
    mine.journal = std::make_shared<job_journal>(folder_.path() / "journal.bin", resume, false,
                                                 [](const std::string& warning) { FAIL(warning); });
    return context_ = std::make_shared<const job_context>(std::move(mine));
  }

  std::uint64_t newest_on_disk() const {
    const auto steps = context_->store->steps();
    return steps.empty() ? 0 : steps.back();
  }

  static void pass(simulator& sim, simulated_cluster& nodes, std::uint64_t steps) {
    const auto until = sim.steps() + steps;
    sim.run_until([&] {
      nodes.tick();
      return nodes.done() || sim.steps() >= until;
    });
  }

  /// Disturbs the others until it is this head's time: at any moment, or when nodes have a cut that the disk lacks.
  bool lives_to_the_end(simulator& sim, simulated_cluster& nodes) {
    for (auto faults = sim.draw(how_.faults + 1); faults > 0 && !nodes.done(); --faults) {
      pass(sim, nodes, sim.draw(500));
      if (!nodes.done())
        nodes.disturb({});
    }
    if (sim.chance(0.5))
      nodes.run_until([&] {
        return nodes.done() || context_->journal->in_memory().value_or(cut_id{}).step > newest_on_disk();
      });
    else
      pass(sim, nodes, sim.draw(800));
    return nodes.done();
  }

  job_inputs inputs_;
  job_settings settings_;
  run_options how_;
  scratch_folder folder_;
  job_context_ptr context_;
};

/// One of a test's runs, whose head dies up to three times.
outcome simulate(std::uint64_t seed, const job_settings& settings) {
  return run(tiny_inputs(), settings, {.nodes = 2 + seed % 3, .deaths = 1 + static_cast<int>(seed % 3), .faults = 2})
      .simulate(seed);
}

const std::string& undisturbed() {
  static const std::string print = [] {
    const auto calm = run(tiny_inputs(), tiny_settings(consistency_mode::sync, 1), {.nodes = 1, .deaths = 0}).simulate(1);
    REQUIRE(calm.done);
    return calm.summary.fingerprint;
  }();
  return print;
}

constexpr std::uint32_t shard_counts[] = {1, 2, 5};

/// Over all seeds of a test.
struct tally {
  std::uint64_t runs = 0, deaths = 0, past_the_disk = 0;
  restore_counts restored{};

  tally() { reset_probes(); }

  void note(const outcome& one) {
    ++runs;
    deaths += one.deaths;
    past_the_disk += one.past_the_disk;
    for (const auto& [source, count] : one.summary.restored)
      restored[source] += count;
  }

  /// A test of many seeds proves little about paths that none of them took.
  void require_rare_paths() const {
    if (runs < 200)
      return;
    MESSAGE(deaths, " heads died; ", past_the_disk, " of those that followed went on from memory, past the disk");
    CHECK(deaths > runs / 2);
    CHECK(past_the_disk > 0);
    CHECK(restored.count(restore_source::survivor) == 1);
    require_probes({"recovery: a shard went on from what outlived the last head",
                    "recovery: what outlived the last head was lost while a shard waited for it",
                    "recovery: a cut outlived the last head in part only"});
  }
};

}  // namespace

TEST_CASE("heads, sync: the same bits whoever owns the job, and whatever happens besides") {
  tally all;
  for_each_seed(250, [&](std::uint64_t seed) {
    auto settings = tiny_settings(consistency_mode::sync, shard_counts[seed % 3]);
    settings.runtime.replication = 1 + seed / 3 % 2;
    const auto hit = simulate(seed, settings);
    REQUIRE(hit.done);
    CHECK(hit.summary.fingerprint == undisturbed());
    require_exactly_once(hit.summary, steps);
    all.note(hit);
  });
  all.require_rare_paths();
}

TEST_CASE("heads, bounded and async: every gradient has effect once, whoever owns the job") {
  tally all;
  for_each_seed(250, [&](std::uint64_t seed) {
    const auto mode = seed % 2 == 0 ? consistency_mode::bounded : consistency_mode::async;
    auto settings = tiny_settings(mode, shard_counts[seed % 3]);
    settings.runtime.replication = 1 + seed / 3 % 2;
    const auto hit = simulate(seed, settings);
    REQUIRE(hit.done);
    CHECK(hit.summary.steps == steps);
    require_exactly_once(hit.summary, steps);
    all.note(hit);
  });
  all.require_rare_paths();
}

}  // namespace troupe
