#include <iterator>
#include <limits>
#include <span>

#include "tests/simulation/cluster.hpp"

namespace troupe {

void simulated_cluster::disturb(std::optional<fault> only) {
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

void simulated_cluster::cut_off(std::size_t count, split how) {
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

bool simulated_cluster::cut_off_are_idle() const {
  return std::ranges::all_of(members_, [](const auto& each) {
    return !each->cut_off || (each->ended == node_end::kind::lost && !each->hosts_somebody());
  });
}

std::uint64_t simulated_cluster::updates_cut_off() const {
  std::uint64_t sum = 0;
  for (const auto& each : members_)
    if (each->cut_off)
      sum += updates_by(*each) - each->updates_before;
  return sum;
}

void simulated_cluster::tick() {
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

bool simulated_cluster::hurry() {
  if (later_.empty())
    return false;
  later_.front().at = sim_.steps();
  return true;
}

std::vector<simulated_cluster::member*> simulated_cluster::living_members() {
  std::vector<member*> living;
  for (const auto& each : members_)
    if (!each->killed && !each->ended && each->id != head_node)
      living.push_back(each.get());
  return living;
}

void simulated_cluster::kill(member& one) {
  one.killed = true;
  wire_.kill(*one.net);
  send_exit(one.node->agent(), caf::exit_reason::kill);
}

bool simulated_cluster::separate(network& a, network& b) {
  later_.push_back({sim_.steps() + sim_.draw(4'000), std::make_shared<surviving_cuts>()});
  return wire_.partition(a, b);
}

void simulated_cluster::heal() {
  const auto before = wire_.partitions();
  wire_.heal();
  note(before.noticed > 0, "network: a partition was noticed");
  note(wire_.partitions().half_seen > before.half_seen, "network: a partition had ended one side of a link when it healed");
  note(wire_.partitions().outlived > before.outlived, "network: a link outlived a partition");
}

void simulated_cluster::add_later(std::uint64_t steps_at_most) {
  later_.push_back({sim_.steps() + sim_.draw(steps_at_most), std::make_shared<surviving_cuts>()});
}

}  // namespace troupe
