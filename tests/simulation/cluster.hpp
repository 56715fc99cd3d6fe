#pragma once

/// A cluster on the simulated network: nodes whose deaths, drains, partitions and returns a test asks for, and heads that
/// follow each other. What carries parcels between real processes is replaced; everything above is the code that ships.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
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
  simulated_cluster(simulator& sim, job_context_ptr context) : sim_(sim), wire_(sim, {.delay_max = milliseconds{sim.chance(0.5) ? 20 : 1}}), context_(std::move(context)) {
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

  /// Of those that are added from now on, in place of chance.
  void set_cores(double cores) { cores_ = cores; }

  /// The process may have been a node before, and have `survivors`.
  void add_node(std::shared_ptr<surviving_cuts> survivors) {
    auto one = std::make_shared<member>();
    one->net = wire_.make_network();
    one->survivors = survivors;
    cluster_node_options options;
    options.codecs = job_codecs();
    options.offer.resources = this_node();
    one->cores = options.offer.resources.cores =
        cores_ ? *cores_ : 1.0 + static_cast<double>(sim_.draw(2));
    options.prepare = [this, context = context_, survivors, one = one.get()](const prepare_job& what) {
      auto job = prepare_with(survivors, *context, what);
      job.spawn = [this, spawn = job.spawn, one](caf::actor_system& system, spawn_actor actor) {
        if (one->spawned.empty() && (one->is_late || one->was_lost))
          probe(one->is_late ? "fault: a node joined and got work" : "fault: a node that was lost joined anew and got work");
        if (role_of(actor.name).kind == role_kind::replica && one->step_seconds > 0.0)
          actor.owner = spawn_stopwatch(one->shared_from_this(), actor.owner);
        one->spawned.push_back({actor.name, spawn(system, actor)});
        return one->spawned.back().who;
      };
      return job;
    };
    options.on_joined = [one = one.get()](node_id id) { one->id = id; };
    options.on_end = [this, survivors, one = one.get()](const node_end& how) {
      one->ended = how.what;
      if (how.what == node_end::kind::released)
        probe(how.text == "drained" ? "fault: a node was drained" : "fault: a node left undrained at its deadline");
      wire_.kill(*one->net);  // its process ends, or joins anew as another node
      if (how.what == node_end::kind::lost && !finished_)
        later_.push_back({sim_.steps() + 200, survivors, true});
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
    const auto what = only ? *only : static_cast<fault>(sim_.draw(without_wedge));
    const auto living = living_members();
    if (living.empty())
      return add_node();
    auto& one = *living[sim_.draw(living.size())];
    auto& other = *living[sim_.draw(living.size())];
    say(fmt::format("fault {} at {}: nodes {} and {}", static_cast<int>(what), sim_.steps(), one.id, other.id));
    switch (what) {
      case fault::kill:
        note(one.hosts_somebody(), "fault: a node was killed with actors on it");
        kill(one);
        return add_later(1'000);
      case fault::drain:
        one.node->drain(sim_.chance(0.5) ? milliseconds{25'000} : milliseconds{sim_.draw(300)}, "simulated notice");
        return add_later(1'000);
      case fault::kill_in_drain:
        one.node->drain(seconds{25}, "simulated notice");
        doomed_.emplace_back(sim_.steps() + sim_.draw(100), &one);
        return add_later(1'000);
      case fault::join:
        add_node();
        members_.back()->is_late = true;
        return;
      case fault::break_from_head:
        return note(wire_.break_links(*one.net, *head_net_), "fault: a link to the head broke");
      case fault::cut_from_head:
        return note(separate(*one.net, *head_net_), "fault: a link to the head was cut");
      case fault::declare_dead:
        return note(wire_.half_break_links(*head_net_, *one.net), "fault: a node was declared dead while it lived");
      case fault::cut_peers:
        return note(&one != &other && separate(*one.net, *other.net), "fault: a link between nodes was cut");
      case fault::break_peers:
        return note(&one != &other && wire_.break_links(*one.net, *other.net), "fault: a link between nodes broke");
      case fault::kill_actor: {
        const char* const victims[] = {"shard/0",  "keeper/0",  "replica/1",        "loader/0",
                                       "evaluator", "keeper/0", "checkpoint_writer", "coordinator"};
        return note(sim_.kill(victims[sim_.draw(std::size(victims))]), "fault: an actor was killed");
      }
      case fault::lose_device: {
        auto living_there = one.spawned;
        std::erase_if(living_there, [](const auto& each) { return simulator::has_ended(each.who); });
        if (!living_there.empty())
          send_exit(living_there[sim_.draw(living_there.size())].who, make_error(errc::device_lost, "a simulated fault"));
        add_later(1'000);
        return;
      }
      case fault::want_cut:
        note(one.hosts_somebody(), "fault: a cut was asked for");
        return one.node->request_cut();
      case fault::forget: {
        one.survivors->clear();
        for (const auto& each : one.spawned)
          if (role_of(each.name).kind == role_kind::keeper && !simulator::has_ended(each.who)) {
            probe("fault: a kept cut was forgotten");
            caf::anon_send(each.who, drop_cuts{std::numeric_limits<std::uint64_t>::max()});
            sim_.kill(name_of({role_kind::shard, role_of(each.name).index}));  // who needs it now
          }
        return;
      }
      case fault::wedge: {
        std::vector<caf::actor> candidates;
        for (const auto& each : one.spawned)
          if (!simulator::has_ended(each.who))
            candidates.push_back(each.who);
        note(!candidates.empty(), "fault: an actor was wedged");
        if (!candidates.empty())
          sim_.wedge(candidates[sim_.draw(candidates.size())]);
        return;
      }
    }
  }

  /// How nodes are cut off.
  enum class split : std::uint8_t {
    from_all,       ///< from the head and the other nodes
    from_head,      ///< from the head only
    declared_dead,  ///< by the head, and do not know yet
  };

  /// So many nodes, together.
  void cut_off(std::size_t count, split how) {
    const auto living = living_members();
    const auto rest = std::span(living).subspan(std::min(count, living.size()));
    for (auto* const one : std::span(living).first(living.size() - rest.size())) {
      one->cut_off = true;
      one->updates_before = updates_by(*one);
      if (how == split::declared_dead)
        wire_.half_break_links(*head_net_, *one->net);
      else
        wire_.partition(*one->net, *head_net_);
      for (auto* const other : rest)
        if (how == split::from_all)
          wire_.partition(*one->net, *other->net);
    }
    const auto own_shards = [](const member* one) { return one->hosts_shards(); };
    note(std::ranges::any_of(rest, own_shards) &&
             std::ranges::any_of(living, [](const member* one) { return one->cut_off && one->hosts_shards(); }),
         "partition: both sides had shards");
  }

  /// Whether all who were cut off have noticed, and nobody trains there any more.
  bool cut_off_are_idle() const {
    return std::ranges::all_of(members_, [](const auto& each) {
      return !each->cut_off || (each->ended == node_end::kind::lost && !each->hosts_somebody());
    });
  }

  /// By shards on nodes that were cut off, since then.
  std::uint64_t updates_cut_off() const {
    std::uint64_t sum = 0;
    for (const auto& each : members_)
      if (each->cut_off)
        sum += updates_by(*each) - each->updates_before;
    return sum;
  }

  /// Deaths and replacements that are due, and networks that are whole again.
  void tick() {
    for (auto& [at, one] : doomed_)
      if (one && at <= sim_.steps()) {
        auto& victim = *std::exchange(one, nullptr);
        note(!victim.killed && !victim.ended, "fault: a node was killed before its drain was over");
        if (!victim.killed)
          kill(victim);
      }
    const auto due = std::find_if(later_.begin(), later_.end(),
                                  [this](const auto& each) { return each.at <= sim_.steps(); });
    if (due == later_.end())
      return;
    const auto what = std::move(*due);
    later_.erase(due);
    heal();
    add_node(what.survivors);
    members_.back()->was_lost = what.was_lost;
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
  static void note(bool took_effect, const char* what) {
    if (took_effect)
      probe(what);
  }

  std::uint64_t updates_by(const member& one) const { return wire_.sent(*one.net, "shard_report"); }

  bool separate(network& a, network& b) {
    later_.push_back({sim_.steps() + sim_.draw(4'000), std::make_shared<surviving_cuts>()});
    return wire_.partition(a, b);
  }

  void heal() {
    const auto before = wire_.partitions();
    wire_.heal();
    note(before.noticed > 0, "network: a partition was noticed");
    note(wire_.partitions().half_seen > before.half_seen, "network: a partition had ended one side of a link when it healed");
    note(wire_.partitions().outlived > before.outlived, "network: a link outlived a partition");
  }

  void add_later(std::uint64_t steps_at_most) {
    later_.push_back({sim_.steps() + sim_.draw(steps_at_most), std::make_shared<surviving_cuts>()});
  }

  /// Tells `coordinator` of a lane's steps how long they take on this node: in virtual time they take none.
  caf::actor spawn_stopwatch(std::shared_ptr<const member> one, const caf::actor& coordinator) {
    return sim_.system().spawn([head = std::weak_ptr(head_), one = std::move(one),
                                coordinator](caf::event_based_actor* self) -> caf::behavior {
      const auto pass_on = [self, coordinator](const auto& message) {
        send_as(caf::actor_cast<caf::actor>(self->current_sender()), coordinator, message);
      };
      return {[=](const lane_paused& message) { pass_on(message); },
              [=](const lane_stuck& message) { pass_on(message); },
              [=](lane_report message) {
                const auto at = head.lock();
                const auto lanes = at ? at->board().homes().lanes : std::vector<node_id>{};
                const auto here = static_cast<double>(std::count(lanes.begin(), lanes.end(), one->id));
                message.seconds = one->step_seconds * std::max(1.0, here / one->cores);
                pass_on(message);
              }};
    });
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
