#pragma once

/// A cluster on the simulated network: nodes whose deaths, drains, partitions and returns a test asks for, and heads that
/// follow each other. What carries parcels between real processes is replaced; everything above is the code that ships.
///
///     simulated_cluster.cpp   heads and nodes, as their processes make them
///     simulated_faults.cpp    what happens to them

#include <algorithm>
#include <cstdint>
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
#include "actors/keeper.hpp"
#include "actors/surviving_cuts.hpp"
#include "runtime/cluster/introduction.hpp"
#include "runtime/cluster/node.hpp"
#include "runtime/probe.hpp"
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
  break_from_head,
  cut_from_head,
  declare_dead,  ///< by the head, while it lives on and does not know
  cut_peers,
  break_peers,
  kill_actor,
  lose_device,   ///< an actor finds out
  want_cut,
  forget,  ///< what is kept for shards that are killed
  wedge,   ///< whoever depends on that waits for supervision.stall_after
};
inline constexpr std::uint64_t without_wedge = static_cast<std::uint64_t>(fault::wedge);

/// Probes that count the faults that took effect: a fault that is drawn may find nobody to hit.
inline constexpr const char* fault_effects[] = {"fault: a node was killed with actors on it",
                                                "fault: a node was drained",
                                                "fault: a node left undrained at its deadline",
                                                "fault: a node was killed before its drain was over",
                                                "fault: a node joined and got work",
                                                "fault: a node that was lost joined anew and got work",
                                                "fault: a link to the head broke",
                                                "fault: a link to the head was cut",
                                                "fault: a node was declared dead while it lived",
                                                "fault: a link between nodes was cut",
                                                "fault: a link between nodes broke",
                                                "fault: an actor was killed",
                                                "fault: a cut was asked for",
                                                "fault: a kept cut was forgotten",
                                                "network: a partition was noticed",
                                                "network: a partition had ended one side of a link when it healed",
                                                "network: a link outlived a partition"};

/// Only in the replay of a seed.
inline void say(const std::string& text) {
  if (std::getenv("TROUPE_SEED") != nullptr)
    MESSAGE(text);
}

class simulated_cluster {
 public:
  simulated_cluster(simulator& sim, job_context_ptr context);
  ~simulated_cluster();

  cluster_head& head() { return *head_; }
  const directory_actor& names() const { return names_; }

  /// Has the head do the job; `observer` is told of it.
  void start_job(const job_observer& observer);

  /// From now on it takes a while until what shards hand over is written.
  void slow_down_disk() { slow_disk_ = true; }

  bool done() const { return *done_; }
  const job_summary& summary() const { return log_->summary(); }

  /// As SIGKILL to the head's process: nothing is heard of it any more, and what lived in it does nothing more.
  void kill_head();

  /// Another head takes over, with what its context says it knows. Nodes find it as they found the one before.
  void succeed_head(job_context_ptr context);

  void add_node() { add_node(std::make_shared<surviving_cuts>()); }

  /// Of those that are added from now on, in place of chance.
  void set_cores(double cores) { cores_ = cores; }

  /// The process may have been a node before, and have `survivors`.
  void add_node(std::shared_ptr<surviving_cuts> survivors);

  /// One that joins, and is not heard of any more.
  void add_stuck_node();

  std::size_t ready() const { return head_->board().count(node_state::ready); }

  /// Does something bad, or good, to somebody.
  void disturb(std::optional<fault> only);

  /// How nodes are cut off.
  enum class split : std::uint8_t {
    from_all,       ///< from the head and the other nodes
    from_head,      ///< from the head only
    declared_dead,  ///< by the head, and do not know yet
  };

  /// So many nodes, together.
  void cut_off(std::size_t count, split how);

  /// Whether all who were cut off have noticed, and nobody trains there any more.
  bool cut_off_are_idle() const;

  /// By shards on nodes that were cut off, since then.
  std::uint64_t updates_cut_off() const;

  /// Deaths and replacements that are due, and networks that are whole again.
  void tick();

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
  bool hurry();

  void finish() { finished_ = true; }

  struct member : std::enable_shared_from_this<member> {
    std::shared_ptr<network> net;
    std::shared_ptr<cluster_node> node;
    node_id id = head_node;
    struct hosted {
      std::string name;
      caf::actor who;
    };
    std::vector<hosted> spawned;
    std::shared_ptr<surviving_cuts> survivors;
    std::optional<node_end::kind> ended;
    bool is_late = false;  // a fault of kind `join`
    bool killed = false;
    bool was_lost = false;  // as another node, before
    bool cut_off = false;
    double cores = 1.0;
    double step_seconds = 0.0;  // of a lane that shares its cores with none; 0: time does not count
    std::uint64_t updates_before = 0;  // it was cut off

    bool hosts_somebody() const {
      return std::ranges::any_of(spawned, [](const auto& each) { return !simulator::has_ended(each.who); });
    }
    bool hosts_shards() const {
      return std::ranges::any_of(spawned, [](const auto& each) {
        return role_of(each.name).kind == role_kind::shard && !simulator::has_ended(each.who);
      });
    }
  };

  std::vector<member*> living_members();

  /// As SIGKILL: first nothing is heard of it any more, then its actors are gone.
  void kill(member& one);

 private:
  static void note(bool took_effect, const char* what) {
    if (took_effect)
      probe(what);
  }

  std::uint64_t updates_by(const member& one) const { return wire_.sent(*one.net, "shard_report"); }

  bool separate(network& a, network& b);
  void heal();
  void add_later(std::uint64_t steps_at_most);

  /// Tells `coordinator` of a lane's steps how long they take on this node: in virtual time they take none.
  caf::actor spawn_stopwatch(std::shared_ptr<const member> one, const caf::actor& coordinator);

  /// Stands for the writer, and lives and dies with it.
  caf::actor spawn_slow_disk(const caf::actor& writer);

  void start_head();

  /// What lives in the head's process besides the membership.
  struct head_process {
    bool dead = false;
    caf::actor root, coordinator, disk, writer;

    /// These and the places that they know hold each other.
    void forget() { root = coordinator = disk = writer = {}; }
  };

  struct newcomer {
    std::uint64_t at = 0;  // the simulation step
    std::shared_ptr<surviving_cuts> survivors;
    bool was_lost = false;
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
  std::optional<double> cores_;
  bool slow_disk_ = false;
  bool finished_ = false;
};

}  // namespace troupe
