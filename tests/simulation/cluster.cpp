/// A job on a cluster whose nodes and network fail: killed nodes, broken links, partitions, drains, newcomers, and
/// actors and coordinators killed besides. P1 (exactly once), P2 (same answer), P3 (nobody hangs), on one thread and
/// in virtual time, over a network that delays and reorders between pairs.

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "runtime/probe.hpp"
#include "tests/scratch_folder.hpp"
#include "tests/seeds.hpp"
#include "tests/simulation/cluster.hpp"
#include "tests/simulation/rare_paths.hpp"

namespace troupe {

namespace {

struct run_options {
  std::size_t nodes = 3;
  std::uint64_t faults = 0;
  std::optional<fault> only{};  ///< absent: of all kinds
  bool slow_disk = false;
  std::size_t cut_off = 0;  ///< so many nodes
  simulated_cluster::split split{};
};

struct outcome {
  bool done = false;
  job_summary summary;
  std::string course;  ///< of the simulation, in short
};

/// Before anybody mends it, or takes the place of who was cut off, these are idle and the others go on.
void split(simulator& sim, simulated_cluster& nodes, const run_options& how) {
  const auto until = sim.steps() + sim.draw(1'000);
  sim.run_until([&] { return nodes.done() || sim.steps() >= until; });
  if (nodes.done())
    return;
  nodes.cut_off(how.cut_off, how.split);
  REQUIRE(sim.run_until([&] { return nodes.cut_off_are_idle(); }) == simulator::outcome::done);
  const auto wasted = nodes.updates_cut_off();
  if (wasted > 0)
    probe("partition: the side without the head trained on until it noticed");
  const auto steps_before = nodes.summary().steps;
  const auto patience = sim.steps() + 50'000;
  sim.run_until([&] { return nodes.done() || nodes.summary().steps > steps_before || sim.steps() > patience; });
  const bool went_on = nodes.done() || nodes.summary().steps > steps_before;
  CHECK((went_on || how.cut_off == how.nodes));
  probe(went_on ? "partition: the head's side trained alone" : "partition: nobody was left with the head");
  CHECK(nodes.updates_cut_off() == wasted);
}

outcome simulate(std::uint64_t seed, const job_inputs& inputs, const job_settings& settings, run_options how) {
  const auto context = make_job_context(inputs, settings);
  effects applied(settings);
  simulator sim{seed, {.steps_max = 2'000'000}};
  simulated_cluster nodes(sim, context);
  if (how.slow_disk)
    nodes.slow_down_disk();
  for (std::size_t i = 0; i < how.nodes; ++i)
    nodes.add_node();
  sim.set_slowness(0.0);
  REQUIRE(sim.run_until([&] { return nodes.ready() == how.nodes; }) == simulator::outcome::done);
  nodes.start_job(following(applied));
  sim.run_until([&] { return sim.lives("coordinator"); });
  sim.set_slowness(simulator_options{}.slowness);
  for (std::uint64_t i = 0; i < how.faults; ++i) {
    const auto until = sim.steps() + sim.draw(1'000);
    sim.run_until([&] {
      nodes.tick();
      return nodes.done() || sim.steps() >= until;
    });
    if (!nodes.done())
      nodes.disturb(how.only);
  }
  if (how.cut_off > 0)
    split(sim, nodes, how);
  nodes.run_until([&] { return nodes.done(); });
  nodes.finish();
  if (nodes.done())
    applied.require_all(nodes.summary().steps);
  return {nodes.done(), nodes.summary(),
          fmt::format("{} turns in {} ns", sim.steps(), sim.clock().now().time_since_epoch().count())};
}

std::string fingerprint_on_one_node(double clip) {
  auto settings = tiny_settings(consistency_mode::sync, 1);
  settings.training.clip = clip;
  const auto plain = simulate(1, tiny_inputs(), settings, {.nodes = 1});
  REQUIRE(plain.done);
  return plain.summary.fingerprint;
}

const std::string& undisturbed() {
  static const auto print = fingerprint_on_one_node(tiny_settings(consistency_mode::sync, 1).training.clip);
  return print;
}

const std::string& unclipped() {
  static const auto print = fingerprint_on_one_node(0.0);
  return print;
}

constexpr std::uint32_t shard_counts[] = {1, 2, 5};

/// A test of many seeds proves little about paths that none of them took.
class rare_paths {
 public:
  rare_paths() { reset_probes(); }

  void note(const outcome& run) {
    ++runs_;
    for (const auto& [source, count] : run.summary.restored)
      restored_[source] += count;
  }

  /// These, faults of all kinds, and what every kind of job on a cluster goes through; and that lost shards went on from
  /// each of `sources`.
  void require(std::vector<const char*> names, const std::vector<restore_source>& sources) const {
    if (runs_ < 400)
      return;
    names.insert(names.end(), std::begin(fault_effects), std::end(fault_effects));
    names.insert(names.end(), {"agent: a node left since its device was lost",
                               "agent: a node lost its head and ended its actors",
                               "coordinator: an actor moved to another node",
                               "head: a node was lost in the middle of its drain",
                               "membership: a node was drained",
                               "membership: two nodes lost each other, and one had to go",
                               "remoting: a parcel came before its receiver",
                               "remoting: a parcel from a node that is no member any more was dropped",
                               "remoting: a parcel to somebody who has ended was dropped"});
    require_probes(names);
    for (const auto source : sources) {
      CAPTURE(to_string(source));
      CHECK(restored_.count(source) == 1);
    }
  }

 private:
  std::uint64_t runs_ = 0;
  restore_counts restored_;
};

}  // namespace

TEST_CASE("cluster, sync: the same bits on one node and on many") {
  for_each_seed(30, [](std::uint64_t seed) {
    const auto plain = simulate(seed, tiny_inputs(), tiny_settings(consistency_mode::sync, shard_counts[seed % 3]),
                                {.nodes = 1 + seed % 4});
    REQUIRE(plain.done);
    CHECK(plain.summary.steps == steps);
    CHECK(plain.summary.replays == 0);
    CHECK(plain.summary.fingerprint == undisturbed());
    require_exactly_once(plain.summary, steps);
  });
}

TEST_CASE("cluster, sync: the same bits whatever happens to nodes, links and actors") {
  auto inputs = tiny_inputs();
  rare_paths paths;
  for_each_seed(400, [&](std::uint64_t seed) {
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    const auto hit = simulate(seed, inputs, tiny_settings(consistency_mode::sync, shard_counts[seed % 3]),
                              {.nodes = 2 + seed % 3, .faults = 4, .slow_disk = seed / 9 % 2 == 0});
    REQUIRE(hit.done);
    CHECK(hit.summary.fingerprint == undisturbed());
    require_exactly_once(hit.summary, steps);
    paths.note(hit);
  });
  paths.require({"coordinator: all shards went back to a cut", "recovery: a part of a cut was not where it was thought to be",
                 "shard: a step of an older epoch was dropped"},
                {restore_source::beginning, restore_source::own_memory, restore_source::neighbour, restore_source::disk});
}

TEST_CASE("cluster, sync: a cut that is lost with its writer changes no bit") {
  auto inputs = tiny_inputs();
  reset_probes();
  std::uint64_t runs = 0;
  for_each_seed(20, [&](std::uint64_t seed) {
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    auto settings = tiny_settings(consistency_mode::sync, shard_counts[seed % 3]);
    settings.chaos.kills = {{"checkpoint_writer", settings.checkpoint.every}};
    const auto hit = simulate(seed, inputs, settings, {.nodes = 2});
    REQUIRE(hit.done);
    CHECK(hit.summary.fingerprint == undisturbed());
    require_exactly_once(hit.summary, steps);
    ++runs;
  });
  if (runs == 20)
    require_probes({"coordinator: a cut was lost with its writer"});
}

TEST_CASE("cluster: a partition leaves at most one side training, the head's; the other joins anew") {
  auto inputs = tiny_inputs();
  reset_probes();
  std::uint64_t runs = 0;
  for_each_seed(150, [&](std::uint64_t seed) {
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    const auto mode = std::array{consistency_mode::sync, consistency_mode::bounded, consistency_mode::async}[seed / 3 % 3];
    const auto nodes = 2 + seed % 4;
    const auto hit = simulate(seed, inputs, tiny_settings(mode, shard_counts[seed % 3]),
                              {.nodes = nodes,
                               .cut_off = seed % 10 == 0 ? nodes : nodes / 2,
                               .split = static_cast<simulated_cluster::split>(seed / 9 % 3)});
    REQUIRE(hit.done);
    if (mode == consistency_mode::sync)
      CHECK(hit.summary.fingerprint == undisturbed());
    require_exactly_once(hit.summary, steps);
    ++runs;
  });
  if (runs < 150)
    return;
  require_probes({"partition: both sides had shards", "partition: the head's side trained alone",
                  "partition: nobody was left with the head",
                  "partition: the side without the head trained on until it noticed",
                  "fault: a node that was lost joined anew and got work",
                  "remoting: a parcel from a node that is no member any more was dropped"});
}

TEST_CASE("cluster: who does not come out of a handler is done without, after a bounded time") {
  auto inputs = tiny_inputs();
  reset_probes();
  std::uint64_t runs = 0;
  for_each_seed(60, [&](std::uint64_t seed) {
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    const auto mode = seed % 2 == 0 ? consistency_mode::sync : consistency_mode::bounded;
    auto settings = tiny_settings(mode, shard_counts[seed % 3]);
    settings.supervision.stall_after = seconds{60};
    const auto hit = simulate(seed, inputs, settings, {.nodes = 2 + seed % 3, .faults = 2, .only = fault::wedge});
    REQUIRE(hit.done);
    if (mode == consistency_mode::sync)
      CHECK(hit.summary.fingerprint == undisturbed());
    require_exactly_once(hit.summary, steps);
    ++runs;
  });
  if (runs < 60)
    return;
  require_probes({"fault: an actor was wedged", "coordinator: nothing was done for too long, and it started over",
                  "supervisor: a child was given up"});
}

TEST_CASE("cluster, bounded and async: every gradient has effect once, whatever happens") {
  auto inputs = tiny_inputs();
  rare_paths paths;
  for_each_seed(400, [&](std::uint64_t seed) {
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    const auto mode = seed % 2 == 0 ? consistency_mode::bounded : consistency_mode::async;
    const auto hit = simulate(seed, inputs, tiny_settings(mode, shard_counts[seed % 3]),
                              {.nodes = 2 + seed % 3, .faults = 4});
    REQUIRE(hit.done);
    CHECK(hit.summary.steps == steps);
    require_exactly_once(hit.summary, steps);
    paths.note(hit);
  });
  paths.require({"coordinator: a lost shard went back alone, and lanes replay for it",
                 "shard: a step that had effect before was dropped",
                 "replica: a step had reached some shards and not others",
                 "recovery: a part of a cut was not where it was thought to be"},
                {restore_source::beginning, restore_source::neighbour, restore_source::disk});
}

TEST_CASE("cluster with backups: one that takes over costs no step, and changes none") {
  auto inputs = tiny_inputs();
  std::uint64_t took_over = 0;
  for_each_seed(60, [&](std::uint64_t seed) {
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    const auto mode = std::array{consistency_mode::sync, consistency_mode::bounded, consistency_mode::async}[seed % 3];
    auto settings = tiny_settings(mode, shard_counts[seed / 3 % 3]);
    settings.runtime.replication = 2;
    const auto hit = simulate(seed, inputs, settings, {.nodes = 3, .faults = 1, .only = fault::kill});
    REQUIRE(hit.done);
    require_exactly_once(hit.summary, steps);
    if (mode == consistency_mode::sync)
      CHECK(hit.summary.fingerprint == undisturbed());
    if (hit.summary.restored.count(restore_source::backup) == 0)
      return;
    ++took_over;
    if (hit.summary.restored.size() == 1)
      CHECK(hit.summary.rollbacks == 0);
  });
  if (std::getenv("TROUPE_SEED") == nullptr)
    CHECK(took_over > 0);
}

TEST_CASE("cluster with backups: the same bits, and every gradient once, whatever happens") {
  auto inputs = tiny_inputs();
  rare_paths paths;
  for_each_seed(400, [&](std::uint64_t seed) {
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    const auto mode = std::array{consistency_mode::sync, consistency_mode::bounded, consistency_mode::sync,
                                 consistency_mode::async}[seed % 4];
    auto settings = tiny_settings(mode, shard_counts[seed / 4 % 3]);
    settings.runtime.replication = 2;
    if (seed % 8 > 5)
      settings.consistency.delay_compensation = consistency_settings::compensation_kind::adaptive;
    if (seed % 8 > 3)
      settings.training.clip = 0.0;
    const auto hit = simulate(seed, inputs, settings, {.nodes = 2 + seed % 3, .faults = 4});
    REQUIRE(hit.done);
    require_exactly_once(hit.summary, steps);
    if (mode == consistency_mode::sync)
      CHECK(hit.summary.fingerprint == (settings.training.clip > 0.0 ? undisturbed() : unclipped()));
    paths.note(hit);
  });
  paths.require({"replica: a step had reached some shards and not others", "recovery: a backup was lost", "recovery: a shard was lost together with its backup",
                 "recovery: a backup took over while a cut was under way", "recovery: a backup took over during a drain"},
                {restore_source::own_memory, restore_source::neighbour, restore_source::backup, restore_source::disk});
}

TEST_CASE("cluster: a seed replays its run, whatever ran before") {
  auto inputs = tiny_inputs();
  const auto course = [&](std::uint64_t seed) {
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    return simulate(seed, inputs, tiny_settings(consistency_mode::sync, 5), {.faults = 4, .slow_disk = true}).course;
  };
  std::vector<std::string> first, again;
  for (std::uint64_t seed = 1; seed <= 10; ++seed)
    first.push_back(course(seed));
  for (std::uint64_t seed = 10; seed >= 1; --seed)
    again.insert(again.begin(), course(seed));
  CHECK(first == again);
  CHECK(first[0] != first[1]);
}

TEST_CASE("cluster: a node that turns slow loses lanes, one that recovers gets them back, and no bit changes") {
  auto inputs = tiny_inputs();
  auto settings = tiny_settings(consistency_mode::sync, 1);
  settings.training.steps = 1'000;
  settings.training.lanes = 4;
  settings.training.batch = 8;
  settings.checkpoint.every = 0;
  settings.evaluation.every = 0;
  settings.runtime.rebalance_after = std::chrono::milliseconds{200};
  const auto calm = simulate(1, inputs, settings, {.nodes = 1});
  REQUIRE(calm.done);
  for_each_seed(5, [&](std::uint64_t seed) {
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    effects applied(settings);
    simulator sim{seed, {.steps_max = 5'000'000}};
    simulated_cluster nodes(sim, make_job_context(inputs, settings));
    nodes.set_cores(1.0);
    nodes.add_node();
    nodes.add_node();
    sim.set_slowness(0.0);
    REQUIRE(sim.run_until([&] { return nodes.ready() == 2; }) == simulator::outcome::done);
    const auto members = nodes.living_members();
    for (auto* const each : members)
      each->step_seconds = 0.1;
    auto& slow = *members.back();
    nodes.start_job(following(applied));
    REQUIRE(sim.run_until([&] { return sim.lives("coordinator"); }) == simulator::outcome::done);
    sim.set_slowness(simulator_options{}.slowness);
    const auto comes_to_have = [&](std::int64_t count) {
      return nodes.run_until([&] {
        const auto homes = nodes.head().board().homes().lanes;
        return nodes.done() || std::count(homes.begin(), homes.end(), slow.id) == count;
      }) && !nodes.done();
    };
    REQUIRE(comes_to_have(2));
    slow.step_seconds = 0.3;
    CHECK(comes_to_have(1));
    slow.step_seconds = 0.1;
    CHECK(comes_to_have(2));
    REQUIRE(nodes.run_until([&] { return nodes.done(); }));
    nodes.finish();
    CHECK(nodes.summary().fingerprint == calm.summary.fingerprint);
    CHECK(nodes.summary().rollbacks == 0);
    applied.require_all(settings.training.steps);
  });
}

TEST_CASE("cluster: a node that does not get ready in time is refused") {
  auto settings = tiny_settings(consistency_mode::sync, 1);
  settings.supervision.stall_after = std::chrono::seconds{10};
  simulator sim{1};
  simulated_cluster nodes(sim, make_job_context(tiny_inputs(), settings));
  nodes.add_stuck_node();
  nodes.add_node();
  const auto& board = nodes.head().board();
  REQUIRE(sim.run_until([&] { return board.count(node_state::gone) > 0; }) == simulator::outcome::done);
  CHECK(board.nodes().front().evidence ==
        "it was not ready within 10 s: it is still reading the job's data, or stuck in that");
  CHECK(board.count(node_state::ready) == 1);
}

}  // namespace troupe
