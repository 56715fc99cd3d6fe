/// A day's worth of restarts, compressed: while a job runs, its nodes die and are replaced, and its actors are killed all
/// the time. What they held is given back: threads, descriptors, memory. TROUPE_RESTARTS=N has N nodes die.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <future>
#include <memory>
#include <thread>

#include <doctest/doctest.h>

#include "actors/cluster_job.hpp"
#include "actors/job.hpp"
#include "actors/job_root.hpp"
#include "models/transformer.hpp"
#include "runtime/cluster/node.hpp"
#include "runtime/system.hpp"
#include "runtime/transport/tcp_network.hpp"
#include "tests/job_on_squares.hpp"
#include "tests/process_resources.hpp"
#include "tests/scratch_folder.hpp"
#include "tests/seeds.hpp"

namespace troupe {

namespace {

using namespace std::chrono_literals;

job_inputs tiny_inputs() {
  transformer_settings settings;
  settings.context = 8;
  settings.layers = 1;
  settings.heads = 2;
  settings.channels = 16;
  return job_on_squares(settings, 1'000);
}

job_settings endless_settings() {
  job_settings settings;
  settings.training.steps = 1'000'000'000;
  settings.training.lanes = 2;
  settings.training.batch = 4;
  settings.runtime.shards = 2;
  settings.evaluation.every = 20;
  settings.evaluation.batches = 1;
  settings.checkpoint.every = 5;
  settings.checkpoint.flush = false;
  settings.supervision.intensity = settings.supervision.fruitless_max = 1'000'000;
  settings.supervision.backoff_first = 0ms;
  settings.chaos.probability = 0.3;
  settings.chaos.kills_max = 1'000'000'000;
  settings.chaos.actors = {"shard/0", "shard/1", "replica/0", "replica/1", "loader/0", "loader/1", "evaluator", "coordinator"};
  return settings;
}

/// What a process of `troupe node` is, in this one. Its destructor is its death: nobody is asked.
class mortal_node {
 public:
  mortal_node(const std::string& head, const job_context_ptr& context) : carrier_(make_tcp_network({})), world_(10s) {
    cluster_node_options options;
    options.codecs = job_codecs();
    options.offer.resources = this_node();
    options.offer.resources.cores = 1.0;
    options.prepare = [context](const prepare_job&) { return prepared_job{spawner_for(context)}; };
    options.on_end = [](const node_end&) {};
    options.on_joined = [this](node_id) { joined_.set_value(true); };
    self_ = std::make_shared<cluster_node>(world_.get(), carrier_, std::move(options));
    self_->join(head, [this](const dial_result& failure) {
      CHECK_MESSAGE(!failure.refused, failure.text);
      joined_.set_value(false);
    });
  }
  ~mortal_node() {
    send_exit(self_->agent(), caf::exit_reason::kill);
    self_.reset();
    CHECK(world_.wind_down());
    end_network(carrier_);
  }
  /// False: nobody listens yet.
  bool has_joined() { return joined_.get_future().get(); }
  mortal_node(const mortal_node&) = delete;
  mortal_node& operator=(const mortal_node&) = delete;

 private:
  std::promise<bool> joined_;
  std::shared_ptr<network> carrier_;
  bounded_system world_;
  std::shared_ptr<cluster_node> self_;
};

/// Once nothing of it changes any more: what ends takes a moment.
process_resources settled() {
  auto last = resources_now();
  for (int same = 0; same < 20; ++same) {
    std::this_thread::sleep_for(10ms);
    const auto now = resources_now();
    if (now.threads != last.threads || now.descriptors != last.descriptors)
      same = 0;
    last = now;
  }
  return last;
}

}  // namespace

TEST_CASE("hundreds of restarts of actors and nodes leak neither threads nor descriptors nor memory") {
  const auto restarts = seed_from_environment("TROUPE_RESTARTS", 60);
  const scratch_folder folder;
  auto inputs = tiny_inputs();
  const auto settings = endless_settings();
  const auto context = make_job_context(inputs, settings);  // the nodes': they keep no cuts
  inputs.checkpoints = folder.path();
  job_cluster cluster;
  cluster.carrier = make_tcp_network({});
  std::atomic<std::uint64_t> steps = 0, actors_restarted = 0;
  job_observer observer;
  observer.on_step = [&](const step_report&) { ++steps; };
  observer.on_event = [&](const child_event& event) { actors_restarted += event.what == child_event::kind::restarting; };
  stop_request stop;
  std::thread job([&] { run_job(inputs, settings, observer, &stop, &cluster); });

  std::deque<std::unique_ptr<mortal_node>> nodes;
  const auto add_node = [&] {
    auto one = std::make_unique<mortal_node>(cluster.carrier->endpoint(), context);
    if (one->has_joined())
      nodes.push_back(std::move(one));
  };
  const auto go_through = [&](std::uint64_t deaths) {
    for (std::uint64_t i = 0; i < deaths; ++i) {
      while (nodes.size() < 2)
        add_node();
      for (const auto until = steps + 2; steps < until;)
        std::this_thread::sleep_for(1ms);
      nodes.pop_front();
    }
    nodes.clear();
    return settled();
  };
  const auto warm = go_through(restarts / 3);
  const auto later = go_through(restarts);
  MESSAGE("after " << restarts / 3 << " and " << restarts << " more deaths of nodes, " << actors_restarted.load()
                   << " restarts of actors in all: threads " << warm.threads << " " << later.threads << ", descriptors "
                   << warm.descriptors << " " << later.descriptors << ", bytes " << warm.memory_bytes << " "
                   << later.memory_bytes);
  add_node();
  stop.stop = true;
  job.join();
  nodes.clear();
  end_network(cluster.carrier);
  CHECK(actors_restarted > 3 * restarts);
  CHECK(later.threads <= warm.threads);
  CHECK(later.descriptors <= warm.descriptors);
  // What stays is the record of a node that was: its host, its endpoint, why it is gone.
  CHECK(later.memory_bytes <= warm.memory_bytes + restarts * 2048 + (512 << 10));
}

}  // namespace troupe
