#pragma once

/// A cluster on the simulated network: nodes whose deaths, drains, partitions and returns a test asks for, and heads that
/// follow each other. What carries parcels between real processes is replaced; everything above is the code that ships.

#include <algorithm>
#include <cstdint>
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
#include "actors/surviving_cuts.hpp"
#include "runtime/cluster/introduction.hpp"
#include "runtime/cluster/node.hpp"
#include "tests/simulation/network.hpp"
#include "tests/simulation/tiny_job.hpp"

namespace troupe {

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
inline void say(const std::string& text) {
  if (std::getenv("TROUPE_SEED") != nullptr)
    MESSAGE(text);
}

class simulated_cluster {
 public:
  simulated_cluster(simulator& sim, job_context_ptr context) : sim_(sim), wire_(sim), context_(std::move(context)) {
    start_head();
  }

  ~simulated_cluster() {
    for (const auto& each : members_)
      send_exit(each->node->agent(), caf::exit_reason::kill);
    send_exit(head_->membership(), caf::exit_reason::kill);
  }

  cluster_head& head() { return *head_; }
  const directory_actor& names() const { return names_; }

  /// Has the head do the job; `observer` is told of it.
  void start_job(const job_observer& observer) {
    log_ = std::make_shared<job_log>(*context_, observer);
    done_ = std::make_shared<bool>(false);
    const auto listener = sim_.system().spawn([done = done_](caf::event_based_actor*) -> caf::behavior {
      return {[done](const job_done&) { *done = true; }};
    });
    auto places = places_on(head_, context_);
    places.spawn = [this, spawn = places.spawn, here = here_](caf::actor_system& system, const child_context& child,
                                                              const caf::actor& coordinator) {
      if (here->dead)
        return caf::actor{};
      here->coordinator = coordinator;
      auto spawned = spawn(system, child, coordinator);
      if (role_of(child.name).kind != role_kind::writer)
        return spawned;
      here->writer = spawned;
      return here->disk = slow_disk_ ? spawn_slow_disk(spawned) : spawned;
    };
    here_->root = caf::actor_cast<caf::actor>(spawn_job(sim_.system(), context_, log_, names_, listener, places));
    sim_.observe(names_);
  }

  /// From now on it takes a while until what shards hand over is written.
  void slow_down_disk() { slow_disk_ = true; }

  bool done() const { return *done_; }
  const job_summary& summary() const { return log_->summary(); }

  /// As SIGKILL to the head's process: nothing is heard of it any more, and what lived in it does nothing more.
  void kill_head() {
    wire_.kill(*head_net_);
    here_->dead = true;
    for (const auto& each : {caf::actor_cast<caf::actor>(names_), head_->membership(), here_->root, here_->disk, here_->writer})
      send_exit(each, caf::exit_reason::kill);
    send_exit(here_->coordinator, make_error(errc::killed_by_chaos, "its process was killed"));  // ends its tree, too
  }

  /// Another head takes over, with what its context says it knows. Nodes find it as they found the one before.
  void succeed_head(job_context_ptr context) {
    context_ = std::move(context);
    start_head();
  }

  void add_node() { add_node(std::make_shared<surviving_cuts>()); }

  /// The process may have been a node before, and have `survivors`.
  void add_node(std::shared_ptr<surviving_cuts> survivors) {
    auto one = std::make_shared<member>();
    one->net = wire_.make_network();
    cluster_node_options options;
    options.codecs = job_codecs();
    options.offer.resources = this_node();
    options.offer.resources.cores = 1.0 + static_cast<double>(sim_.draw(2));
    options.prepare = [context = context_, survivors, one = one.get()](const prepare_job& what) {
      auto job = prepare_with(survivors, *context, what);
      job.spawn = [spawn = job.spawn, one](caf::actor_system& system, const spawn_actor& actor) {
        one->spawned.push_back(spawn(system, actor));
        return one->spawned.back();
      };
      return job;
    };
    options.on_joined = [one = one.get()](node_id id) { one->id = id; };
    options.on_end = [this, survivors, one = one.get()](const node_end& how) {
      one->ended = how.what;
      wire_.kill(*one->net);  // its process ends, or joins anew as another node
      if (how.what == node_end::kind::lost && !finished_)
        later_.push_back({sim_.steps() + 200, survivors});
    };
    options.die = [this, one = one.get()] { kill(*one); };
    one->node = std::make_shared<cluster_node>(sim_.system(), one->net, std::move(options));
    one->node->join(head_->endpoint(), [this, survivors, one = one.get()](const dial_result&) {
      one->ended = node_end::kind::unfit;
      if (!finished_)
        later_.push_back({sim_.steps() + 200, survivors});
    });
    members_.push_back(std::move(one));
  }

  /// One that joins, and is not heard of any more.
  void add_stuck_node() {
    stuck_ = wire_.make_network();
    stuck_->start({[](link_id, const std::string&) { return introduction_reply{true, {}}; }, [](link_id, parcel) {},
                   [](link_id, const std::string&) {}});
    introduction mine;
    mine.what = introduction::kind::join;
    mine.offer = {stuck_->endpoint(), this_node()};
    stuck_->dial(head_->endpoint(), encode(mine), [](const dial_result&) {});
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
        add_later(1'000);
        return;
      case fault::drain:
        one.node->drain(seconds{25}, "simulated notice");
        add_later(1'000);
        return;
      case fault::kill_in_drain:
        one.node->drain(seconds{25}, "simulated notice");
        doomed_.emplace_back(sim_.steps() + sim_.draw(100), &one);
        add_later(1'000);
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
    const auto due = std::find_if(later_.begin(), later_.end(),
                                  [this](const auto& each) { return each.at <= sim_.steps(); });
    if (due == later_.end())
      return;
    const auto survivors = std::move(due->survivors);
    later_.erase(due);
    wire_.heal();
    add_node(survivors);
  }

  /// Goes on until `done()`; false where that never comes.
  template <class Predicate>
  bool run_until(Predicate done) {
    const auto goes_on = [&] {
      return sim_.run_until([&] {
        tick();
        return done();
      });
    };
    for (;;) {
      const auto how = goes_on();
      if (how != simulator::outcome::quiet || !hurry())
        return how == simulator::outcome::done;
    }
  }

  /// Nothing else is left to do: what is to come comes now. False where nothing is.
  bool hurry() {
    if (later_.empty())
      return false;
    later_.front().at = sim_.steps();
    return true;
  }

  void finish() { finished_ = true; }
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
    later_.push_back({sim_.steps() + 2'000, std::make_shared<surviving_cuts>()});
  }

  void add_later(std::uint64_t steps_at_most) {
    later_.push_back({sim_.steps() + sim_.draw(steps_at_most), std::make_shared<surviving_cuts>()});
  }

  /// Stands for the writer, and lives and dies with it.
  caf::actor spawn_slow_disk(const caf::actor& writer) {
    return sim_.system().spawn([writer, &sim = sim_](caf::event_based_actor* self) -> caf::behavior {
      self->link_to(writer);
      return {[writer, &sim](const write_part& part) {
        caf::delayed_anon_send(writer, milliseconds{sim.draw(300)}, part);
      }};
    });
  }

  void start_head() {
    here_ = std::make_shared<head_process>();
    names_ = spawn_directory(sim_.system());
    cluster_head_options options;
    options.codecs = job_codecs();
    options.demands = demands_of(*context_);
    options.terms.job.from_before = inheritance_of(*context_);
    options.terms.prepare_within = context_->settings.supervision.stall_after;
    options.cluster = "simulated";
    options.status = [] { return std::string{"{}"}; };
    options.tell = [](const log_line& line) { say(line.message); };
    head_net_ = wire_.make_network();
    head_ = std::make_shared<cluster_head>(sim_.system(), head_net_, std::move(options));
    head_->start(names_);
  }

  /// What lives in the head's process besides the membership.
  struct head_process {
    bool dead = false;
    caf::actor root, coordinator, disk, writer;
  };

  struct newcomer {
    std::uint64_t at = 0;  // the simulation step
    std::shared_ptr<surviving_cuts> survivors;
  };

  simulator& sim_;
  simulated_wire wire_;
  job_context_ptr context_;
  directory_actor names_;
  std::shared_ptr<network> head_net_;
  std::shared_ptr<cluster_head> head_;
  std::shared_ptr<head_process> here_;
  std::shared_ptr<job_log> log_;
  std::shared_ptr<bool> done_ = std::make_shared<bool>(false);
  std::vector<std::shared_ptr<member>> members_;
  std::shared_ptr<network> stuck_;
  std::vector<newcomer> later_;
  std::vector<std::pair<std::uint64_t, member*>> doomed_;  // the simulation steps at which they die
  std::map<fault, std::uint64_t> seen_;
  bool slow_disk_ = false;
  bool finished_ = false;
};

}  // namespace troupe
