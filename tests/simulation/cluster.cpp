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

#include "actors/cluster_job.hpp"
#include "actors/coordinator.hpp"
#include "actors/job_root.hpp"
#include "runtime/cluster/node.hpp"
#include "runtime/probe.hpp"
#include "tests/scratch_folder.hpp"
#include "tests/seeds.hpp"
#include "tests/simulation/network.hpp"
#include "tests/simulation/tiny_job.hpp"

namespace troupe {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// What can happen to a cluster.
enum class fault : std::uint8_t {
  kill,
  drain,
  kill_in_drain,
  join,
  cut_from_head,
  declare_dead,  ///< by the head, while it lives on and does not know
  cut_peers,
  break_peers,
  kill_actor,
  want_cut,
};
inline constexpr fault all_faults[] = {fault::kill,          fault::drain,        fault::kill_in_drain,
                                       fault::join,          fault::cut_from_head, fault::declare_dead,
                                       fault::cut_peers,     fault::break_peers,  fault::kill_actor,
                                       fault::want_cut};

/// Only in the replay of a seed.
void say(const std::string& text) {
  if (std::getenv("TROUPE_SEED") != nullptr)
    MESSAGE(text);
}

class cluster {
 public:
  cluster(simulator& sim, job_context_ptr context) : sim_(sim), wire_(sim), context_(std::move(context)) {
    names_ = spawn_directory(sim_.system());
    cluster_head_options options;
    options.codecs = job_codecs();
    options.demands = demands_of(*context_);
    options.cluster = "simulated";
    options.status = [] { return std::string{"{}"}; };
    options.tell = [](const log_line& line) { say(line.message); };
    head_net_ = wire_.make_network();
    head_ = std::make_shared<cluster_head>(sim_.system(), head_net_, std::move(options));
    head_->start(names_);
  }

  ~cluster() {
    for (const auto& each : members_)
      send_exit(each->node->agent(), caf::exit_reason::kill);
    send_exit(head_->membership(), caf::exit_reason::kill);
  }

  cluster_head& head() { return *head_; }
  const directory_actor& names() const { return names_; }
  job_places places() { return places_on(head_, context_); }

  void add_node() {
    auto one = std::make_shared<member>();
    one->net = wire_.make_network();
    cluster_node_options options;
    options.codecs = job_codecs();
    options.offer.resources = this_node();
    options.offer.resources.cores = 1.0 + static_cast<double>(sim_.draw(2));
    options.prepare = [context = context_, one = one.get()](const std::vector<job_document>&) -> local_spawner {
      return [spawn = spawner_for(context), one](caf::actor_system& system, const spawn_actor& what) {
        one->spawned.push_back(spawn(system, what));
        return one->spawned.back();
      };
    };
    options.on_joined = [one = one.get()](node_id id) { one->id = id; };
    options.on_end = [this, one = one.get()](const node_end& how) {
      one->ended = how.what;
      wire_.kill(*one->net);  // its process ends, or joins anew as another node
      if (how.what == node_end::kind::lost && !done_)
        later_.push_back(sim_.steps() + 200);
    };
    options.die = [this, one = one.get()] { kill(*one); };
    one->node = std::make_shared<cluster_node>(sim_.system(), one->net, std::move(options));
    one->node->join(head_->endpoint(), [this, one = one.get()](const dial_result&) {
      one->ended = node_end::kind::unfit;
      if (!done_)
        later_.push_back(sim_.steps() + 200);
    });
    members_.push_back(std::move(one));
  }

  std::size_t ready() const { return head_->board().count(node_state::ready); }

  /// Does something bad, or good, to somebody.
  void disturb(std::optional<fault> only) {
    const auto what = only ? *only : all_faults[sim_.draw(std::size(all_faults))];
    const auto living = living_members();
    if (living.empty())
      return add_node();
    auto& one = *living[sim_.draw(living.size())];
    auto& other = *living[sim_.draw(living.size())];
    ++seen_[what];
    say(fmt::format("fault {} at {}: nodes {} and {}", static_cast<int>(what), sim_.steps(), one.id, other.id));
    switch (what) {
      case fault::kill:
        kill(one);
        later_.push_back(sim_.steps() + sim_.draw(1'000));
        return;
      case fault::drain:
        one.node->drain(seconds{25}, "simulated notice");
        later_.push_back(sim_.steps() + sim_.draw(1'000));
        return;
      case fault::kill_in_drain:
        one.node->drain(seconds{25}, "simulated notice");
        doomed_.emplace_back(sim_.steps() + sim_.draw(100), &one);
        later_.push_back(sim_.steps() + sim_.draw(1'000));
        return;
      case fault::join:
        return add_node();
      case fault::cut_from_head:
        return separate(*one.net, *head_net_);
      case fault::declare_dead:
        return wire_.half_break_links(*head_net_, *one.net);
      case fault::cut_peers:
        if (&one != &other)
          separate(*one.net, *other.net);
        return;
      case fault::break_peers:
        if (&one != &other)
          wire_.break_links(*one.net, *other.net);
        return;
      case fault::kill_actor: {
        const char* const victims[] = {"shard/0",  "keeper/0",  "replica/1",        "loader/0",
                                       "evaluator", "keeper/0", "checkpoint_writer", "coordinator"};
        sim_.kill(victims[sim_.draw(std::size(victims))]);
        return;
      }
      case fault::want_cut:
        one.node->request_cut();
        return;
    }
  }

  /// Half of the nodes, together, from the other half and the head.
  void cut_off_half() {
    const auto living = living_members();
    for (std::size_t i = 0; i < living.size() / 2; ++i) {
      living[i]->cut_off = true;
      wire_.partition(*living[i]->net, *head_net_);
      for (auto j = living.size() / 2; j < living.size(); ++j)
        wire_.partition(*living[i]->net, *living[j]->net);
    }
  }

  /// Whether all who were cut off have noticed, and nobody trains there any more.
  bool cut_off_half_is_idle() const {
    return std::ranges::all_of(members_, [](const auto& each) {
      return !each->cut_off ||
             (each->ended == node_end::kind::lost && std::ranges::all_of(each->spawned, simulator::has_ended));
    });
  }

  /// Deaths and replacements that are due, and networks that are whole again.
  void tick() {
    for (auto& [at, one] : doomed_)
      if (one && at <= sim_.steps() && !one->killed)
        kill(*std::exchange(one, nullptr));
    const auto due = std::find_if(later_.begin(), later_.end(), [this](auto at) { return at <= sim_.steps(); });
    if (due == later_.end())
      return;
    later_.erase(due);
    wire_.heal();
    add_node();
  }

  /// Nothing else is left to do: what is to come comes now. False where nothing is.
  bool hurry() {
    if (later_.empty())
      return false;
    later_.front() = sim_.steps();
    return true;
  }

  void finish() { done_ = true; }
  const std::map<fault, std::uint64_t>& seen() const { return seen_; }

  struct member {
    std::shared_ptr<network> net;
    std::shared_ptr<cluster_node> node;
    node_id id = head_node;
    std::vector<caf::actor> spawned;
    std::optional<node_end::kind> ended;
    bool killed = false;
    bool cut_off = false;
  };

  std::vector<member*> living_members() {
    std::vector<member*> living;
    for (const auto& each : members_)
      if (!each->killed && !each->ended && each->id != head_node)
        living.push_back(each.get());
    return living;
  }

  /// As SIGKILL: first nothing is heard of it any more, then its actors are gone.
  void kill(member& one) {
    one.killed = true;
    wire_.kill(*one.net);
    send_exit(one.node->agent(), caf::exit_reason::kill);
  }

 private:
  void separate(network& a, network& b) {
    wire_.partition(a, b);
    later_.push_back(sim_.steps() + 2'000);
  }

  simulator& sim_;
  simulated_wire wire_;
  job_context_ptr context_;
  directory_actor names_;
  std::shared_ptr<network> head_net_;
  std::shared_ptr<cluster_head> head_;
  std::vector<std::shared_ptr<member>> members_;
  std::vector<std::uint64_t> later_;  // simulation steps at which a node is to be added
  std::vector<std::pair<std::uint64_t, member*>> doomed_;  // the simulation steps at which they die
  std::map<fault, std::uint64_t> seen_;
  bool done_ = false;
};

struct run_options {
  std::size_t nodes = 3;
  std::uint64_t faults = 0;
  bool partition = false;  ///< half of the nodes are cut off
  std::optional<fault> only{};  ///< absent: of all kinds
};

struct outcome {
  bool done = false;
  job_summary summary;
  std::map<fault, std::uint64_t> seen;
};

outcome simulate(std::uint64_t seed, const job_inputs& inputs, const job_settings& settings, run_options how) {
  const auto context = make_job_context(inputs, settings);
  effects applied(settings);
  const auto log = std::make_shared<job_log>(*context, following(applied));
  simulator sim{seed, {.steps_max = 2'000'000}};
  cluster nodes(sim, context);
  for (std::size_t i = 0; i < how.nodes; ++i)
    nodes.add_node();
  sim.set_slowness(0.0);
  REQUIRE(sim.run_until([&] { return nodes.ready() == how.nodes; }) == simulator::outcome::done);
  const auto done = std::make_shared<bool>(false);
  const auto listener = sim.system().spawn(
      [done](caf::event_based_actor*) -> caf::behavior { return {[done](const job_done&) { *done = true; }}; });
  const auto root = spawn_job(sim.system(), context, log, nodes.names(), listener, nodes.places());
  sim.observe(nodes.names());
  sim.run_until([&] { return sim.lives("coordinator"); });
  sim.set_slowness(simulator_options{}.slowness);
  for (std::uint64_t i = 0; i < how.faults; ++i) {
    const auto until = sim.steps() + sim.draw(2'500);
    sim.run_until([&] {
      nodes.tick();
      return *done || sim.steps() >= until;
    });
    if (!*done)
      nodes.disturb(how.only);
  }
  if (how.partition) {
    const auto until = sim.steps() + sim.draw(2'500);
    sim.run_until([&] { return *done || sim.steps() >= until; });
    nodes.cut_off_half();
    // Before anybody mends it, or takes their place.
    if (!*done)
      CHECK(sim.run_until([&] { return nodes.cut_off_half_is_idle(); }) == simulator::outcome::done);
  }
  const auto goes_on = [&] {
    return sim.run_until([&] {
      nodes.tick();
      return *done;
    });
  };
  while (goes_on() == simulator::outcome::quiet && nodes.hurry()) {
    // nop
  }
  nodes.finish();
  if (*done)
    applied.require_all(log->summary().steps);
  return {*done, log->summary(), nodes.seen()};
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
    for (const auto& [what, count] : run.seen)
      faults_[what] += count;
    for (const auto& [source, count] : run.summary.restored)
      restored_[source] += count;
  }

  /// These, and those that every kind of job on a cluster has; and that lost shards went on from each of `sources`.
  void require(std::vector<std::string> names, const std::vector<restore_source>& sources) const {
    if (runs_ < 400)
      return;
    for (const auto what : all_faults) {
      CAPTURE(static_cast<int>(what));
      CHECK(faults_.count(what) == 1);
    }
    names.insert(names.end(), {"agent: a node lost its head and ended its actors",
                               "coordinator: an actor moved to another node",
                               "head: a node was lost in the middle of its drain",
                               "membership: a node was drained",
                               "membership: two nodes lost each other, and one had to go",
                               "remoting: a parcel came before its receiver",
                               "remoting: a parcel from a node that is no member any more was dropped",
                               "remoting: a parcel to somebody who has ended was dropped",
                               "replica: a step had reached some shards and not others"});
    auto counts = probe_counts();
    for (const auto& name : names) {
      MESSAGE(name, ": ", counts[name]);
      CHECK_MESSAGE(counts[name] > 0, name);
    }
    for (const auto source : sources) {
      CAPTURE(to_string(source));
      CHECK(restored_.count(source) == 1);
    }
  }

 private:
  std::uint64_t runs_ = 0;
  std::map<fault, std::uint64_t> faults_;
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
                              {.nodes = 2 + seed % 3, .faults = 4});
    REQUIRE(hit.done);
    CHECK(hit.summary.fingerprint == undisturbed());
    require_exactly_once(hit.summary, steps);
    paths.note(hit);
  });
  paths.require({"coordinator: all shards went back to a cut", "shard: a step of an older epoch was dropped"},
                {restore_source::beginning, restore_source::own_memory, restore_source::neighbour, restore_source::disk});
}

TEST_CASE("cluster: a partition leaves one side training, the head's") {
  auto inputs = tiny_inputs();
  for_each_seed(50, [&](std::uint64_t seed) {
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    const auto hit = simulate(seed, inputs, tiny_settings(consistency_mode::sync, shard_counts[seed % 3]),
                              {.nodes = 2 + seed % 4, .partition = true});
    REQUIRE(hit.done);
    CHECK(hit.summary.fingerprint == undisturbed());
    require_exactly_once(hit.summary, steps);
  });
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
                 "shard: a step that had effect before was dropped"},
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
  paths.require({"recovery: a backup was lost", "recovery: a shard was lost together with its backup",
                 "recovery: a backup took over while a cut was under way", "recovery: a backup took over during a drain"},
                {restore_source::own_memory, restore_source::neighbour, restore_source::backup, restore_source::disk});
}

}  // namespace troupe
