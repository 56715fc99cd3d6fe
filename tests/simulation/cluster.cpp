/// A job on a cluster whose nodes and network fail: killed nodes, broken links, partitions, drains, newcomers, and
/// actors and coordinators killed besides. P1 (exactly once), P2 (same answer), P3 (nobody hangs), on one thread and
/// in virtual time, over a network that delays and reorders between pairs.

#include <map>
#include <memory>
#include <string>
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
enum class fault : std::uint8_t { kill, drain, join, cut_from_head, cut_peers, break_peers, kill_actor, want_cut };
inline constexpr fault all_faults[] = {fault::kill,      fault::drain,       fault::join,       fault::cut_from_head,
                                       fault::cut_peers, fault::break_peers, fault::kill_actor, fault::want_cut};

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
    options.tell = say;
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
    options.prepare = [context = context_](const std::vector<job_document>&) { return spawner_for(context); };
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
  void disturb() {
    const auto what = all_faults[sim_.draw(std::size(all_faults))];
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
      case fault::join:
        return add_node();
      case fault::cut_from_head:
        return separate(*one.net, *head_net_);
      case fault::cut_peers:
        if (&one != &other)
          separate(*one.net, *other.net);
        return;
      case fault::break_peers:
        if (&one != &other)
          wire_.break_links(*one.net, *other.net);
        return;
      case fault::kill_actor: {
        const char* const victims[] = {"shard/0", "replica/1", "loader/0", "evaluator", "checkpoint_writer", "coordinator"};
        sim_.kill(victims[sim_.draw(std::size(victims))]);
        return;
      }
      case fault::want_cut:
        one.node->request_cut();
        return;
    }
  }

  /// Replacements that are due, and networks that are whole again.
  void tick() {
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
    std::optional<node_end::kind> ended;
    bool killed = false;
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
  std::map<fault, std::uint64_t> seen_;
  bool done_ = false;
};

struct run_options {
  std::size_t nodes = 3;
  std::uint64_t faults = 0;
};

struct outcome {
  bool done = false;
  job_summary summary;
  std::map<fault, std::uint64_t> seen;
};

outcome simulate(std::uint64_t seed, const job_inputs& inputs, const job_settings& settings, run_options how) {
  const auto context = make_job_context(inputs, settings);
  const auto log = std::make_shared<job_log>(*context, telling_observer());
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
      nodes.disturb();
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
  return {*done, log->summary(), nodes.seen()};
}

const std::string& undisturbed() {
  static const std::string print = [] {
    const auto plain = simulate(1, tiny_inputs(), tiny_settings(consistency_mode::sync, 1), {.nodes = 1});
    REQUIRE(plain.done);
    return plain.summary.fingerprint;
  }();
  return print;
}

constexpr std::uint32_t shard_counts[] = {1, 2, 5};

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
  std::map<fault, std::uint64_t> seen;
  for_each_seed(250, [&](std::uint64_t seed) {
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    const auto hit = simulate(seed, inputs, tiny_settings(consistency_mode::sync, shard_counts[seed % 3]),
                              {.nodes = 2 + seed % 3, .faults = 4});
    REQUIRE(hit.done);
    CHECK(hit.summary.fingerprint == undisturbed());
    require_exactly_once(hit.summary, steps);
    for (const auto& [what, count] : hit.seen)
      seen[what] += count;
  });
  if (std::getenv("TROUPE_SEED") == nullptr)
    for (const auto what : all_faults)
      CHECK(seen[what] > 0);
}

TEST_CASE("cluster, bounded and async: every gradient has effect once, whatever happens") {
  auto inputs = tiny_inputs();
  for_each_seed(250, [&](std::uint64_t seed) {
    const scratch_folder folder;
    inputs.checkpoints = folder.path();
    const auto mode = seed % 2 == 0 ? consistency_mode::bounded : consistency_mode::async;
    const auto hit = simulate(seed, inputs, tiny_settings(mode, shard_counts[seed % 3]),
                              {.nodes = 2 + seed % 3, .faults = 4});
    REQUIRE(hit.done);
    CHECK(hit.summary.steps == steps);
    require_exactly_once(hit.summary, steps);
  });
}

}  // namespace troupe
