#include "runtime/cluster/placement.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <functional>
#include <numeric>

#include <fmt/format.h>

namespace troupe {

namespace {

/// Times of a step within this factor are alike; see the header.
constexpr double alike_factor = 1.25;
/// A lane moves for a gain beyond this only: its step is begun anew elsewhere, and the next measurement may differ.
constexpr double lane_margin = 0.9;
/// A node's, in which a lane alone takes 1 at speed 1.
double time_of_step(const placement_node& node, double cores) { return std::max(1.0, cores / node.cores) / node.speed; }

constexpr auto homeless = std::numeric_limits<std::size_t>::max();

/// How heavily a node is laden.
struct burden {
  int level = 0;      ///< of `time`, in factors of alike_factor
  double time = 0.0;
  double load = 0.0;

  bool lighter_than(const burden& other, double margin = 1.0) const {
    return level != other.level ? level < other.level && time < margin * other.time : load < margin * other.load;
  }
};

struct item {
  double weight = 0.0;  ///< above 0
  std::uint64_t memory_bytes = 0;
  std::size_t at = homeless;  ///< index of its node
};

/// What is spread by one measure.
struct group {
  std::vector<std::string> names;
  std::vector<item> items;
  std::vector<double> weights;  ///< by node
  std::function<burden(std::size_t node, double weight)> measure;
  double margin = 1.0;

  burden now(std::size_t node) const { return measure(node, weights[node]); }
  burden with(std::size_t node, const item& more) const { return measure(node, weights[node] + more.weight); }
  burden without(std::size_t node, const item& less) const { return measure(node, weights[node] - less.weight); }
};

std::string format_bytes(std::uint64_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

class planner {
 public:
  planner(const std::vector<placement_node>& nodes, placement_mode mode)
      : nodes_(nodes), mode_(mode), memory_used_(nodes.size()) {
    for (const auto& node : nodes)
      fastest_ = std::max(fastest_, node.speed);
  }

  group make_group(std::vector<item> items, std::string_view name) const {
    group made;
    for (std::size_t i = 0; i < items.size(); ++i)
      made.names.push_back(fmt::format("{} {}", name, i));
    made.items = std::move(items);
    made.weights.resize(nodes_.size());
    return made;
  }

  burden measure_cores(std::size_t index, double cores) const {
    const auto& node = nodes_[index];
    const auto time = time_of_step(node, cores);
    const auto level = static_cast<int>(std::floor(std::log(time * fastest_) / std::log(alike_factor)));
    return {level, time, cores / (node.cores * node.speed)};
  }

  /// Keeps who may stay where they are.
  void settle(group& all, const std::vector<node_id>& present) {
    for (std::size_t i = 0; i < std::min(present.size(), all.items.size()); ++i) {
      const auto node = find(present[i]);
      if (node != homeless && (mode_ == placement_mode::repair || fits(node, all.items[i])))
        move(all, all.items[i], node);
    }
  }

  /// Places the homeless, heaviest first, each where it weighs least, or on the node it would like, by index, where it
  /// fits. Returns the problem where one fits nowhere.
  std::string house(group& all, const std::vector<node_id>& liked = {}) {
    std::vector<std::size_t> order(all.items.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return all.items[a].weight > all.items[b].weight; });
    for (const auto index : order) {
      auto& each = all.items[index];
      if (each.at != homeless)
        continue;
      auto best = index < liked.size() ? find(liked[index]) : homeless;
      if (best != homeless && fits(best, each)) {
        move(all, each, best);
        continue;
      }
      best = homeless;
      for (std::size_t node = 0; node < nodes_.size(); ++node)
        if (fits(node, each) && (best == homeless || all.with(node, each).lighter_than(all.with(best, each))))
          best = node;
      if (best == homeless)
        return explain(all.names[index], each);
      move(all, each, best);
    }
    return {};
  }

  /// Ends: each move replaces the heavier of two burdens by two lighter ones, and there are finitely many placements.
  void balance(group& all) {
    while (move_one(all)) {
      // nop
    }
  }

  std::vector<node_id> ids(const group& all) const {
    std::vector<node_id> result;
    for (const auto& each : all.items)
      result.push_back(nodes_[each.at].id);
    return result;
  }


  /// Keepers: whoever finds no place does without.
  std::vector<node_id> place_keepers(const std::vector<std::uint64_t>& bytes, const group& shards,
                                     const std::vector<node_id>& present) {
    std::vector<std::size_t> homes(bytes.size(), homeless);
    auto weights = shards.weights;
    const auto settle = [&](std::size_t keeper, std::size_t node) {
      homes[keeper] = node;
      weights[node] += static_cast<double>(bytes[keeper]);
      memory_used_[node] += bytes[keeper];
    };
    for (std::size_t i = 0; i < std::min(present.size(), bytes.size()); ++i) {
      const auto node = find(present[i]);
      if (node == homeless)
        continue;
      if (mode_ == placement_mode::repair || (node != shards.items[i].at && bytes[i] <= memory_left(node)))
        settle(i, node);
    }
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      auto best = homeless;
      for (std::size_t away = 1; homes[i] == homeless && away < nodes_.size(); ++away) {
        const auto node = (shards.items[i].at + away) % nodes_.size();
        if (bytes[i] <= memory_left(node) && (best == homeless || weights[node] < weights[best]))
          best = node;
      }
      if (best != homeless)
        settle(i, best);
    }
    std::vector<node_id> result;
    for (const auto home : homes)
      result.push_back(home == homeless ? no_node : nodes_[home].id);
    return result;
  }

 private:
  std::size_t find(node_id id) const {
    const auto found = std::find_if(nodes_.begin(), nodes_.end(), [&](const auto& node) { return node.id == id; });
    return found == nodes_.end() ? homeless : static_cast<std::size_t>(found - nodes_.begin());
  }

  std::uint64_t memory_left(std::size_t node) const {
    const auto& there = nodes_[node];
    if (there.memory_bytes == 0)
      return std::numeric_limits<std::uint64_t>::max();
    return there.memory_bytes - std::min(there.memory_bytes, memory_used_[node]);
  }

  bool fits(std::size_t node, const item& each) const { return each.memory_bytes <= memory_left(node); }

  void move(group& all, item& each, std::size_t to) {
    if (each.at != homeless) {
      all.weights[each.at] -= each.weight;
      memory_used_[each.at] -= each.memory_bytes;
    }
    each.at = to;
    all.weights[to] += each.weight;
    memory_used_[to] += each.memory_bytes;
  }

  /// Moves one item from the heaviest node that has one to spare to where both nodes end lightest.
  bool move_one(group& all) {
    std::vector<std::size_t> heaviest_first(nodes_.size());
    std::iota(heaviest_first.begin(), heaviest_first.end(), std::size_t{0});
    std::stable_sort(heaviest_first.begin(), heaviest_first.end(),
                     [&](std::size_t a, std::size_t b) { return all.now(b).lighter_than(all.now(a)); });
    for (const auto from : heaviest_first) {
      item* chosen = nullptr;
      std::size_t to = homeless;
      burden outcome;
      for (auto& each : all.items)
        for (std::size_t node = 0; each.at == from && node < nodes_.size(); ++node) {
          const auto there = all.with(node, each);
          if (node == from || !fits(node, each) || !there.lighter_than(all.now(from), all.margin))
            continue;
          const auto here = all.without(from, each);
          const auto& heavier = there.lighter_than(here) ? here : there;
          if (chosen == nullptr || heavier.lighter_than(outcome)) {
            chosen = &each;
            to = node;
            outcome = heavier;
          }
        }
      if (chosen != nullptr) {
        move(all, *chosen, to);
        return true;
      }
    }
    return false;
  }

  std::string explain(const std::string& name, const item& each) const {
    std::size_t roomiest = 0;
    for (std::size_t node = 1; node < nodes_.size(); ++node)
      if (memory_left(node) > memory_left(roomiest))
        roomiest = node;
    return fmt::format("{} needs {} of memory, and no node has that much left: node {} has the most, {} of {}\n"
                       "help: let more nodes join, or cut the model into more shards",
                       name, format_bytes(each.memory_bytes), nodes_[roomiest].id,
                       format_bytes(memory_left(roomiest)), format_bytes(nodes_[roomiest].memory_bytes));
  }

  const std::vector<placement_node>& nodes_;  ///< that accept work, by id
  placement_mode mode_;
  double fastest_ = 0.0;
  std::vector<std::uint64_t> memory_used_;
};

placement_result plan(const std::vector<placement_node>& nodes, const placement_demands& demands,
                      const placement& present, placement_mode mode) {
  planner all(nodes, mode);
  std::vector<item> shard_items, lane_items, evaluator_items;
  for (const auto bytes : demands.shard_bytes)
    shard_items.push_back({static_cast<double>(std::max<std::uint64_t>(bytes, 1)), bytes});
  for (const auto& lane : demands.lanes)
    lane_items.push_back({lane.cores, lane.memory_bytes});
  if (demands.evaluator)
    evaluator_items.push_back({demands.evaluator->cores, demands.evaluator->memory_bytes});

  auto shards = all.make_group(std::move(shard_items), "shard");
  auto lanes = all.make_group(std::move(lane_items), "lane");
  auto evaluator = all.make_group(std::move(evaluator_items), "evaluator");
  shards.measure = [&](std::size_t, double bytes) { return burden{0, 0.0, bytes}; };
  lanes.measure = [&](std::size_t node, double cores) { return all.measure_cores(node, cores); };
  evaluator.measure = [&](std::size_t node, double cores) {
    return all.measure_cores(node, lanes.weights[node] + cores);
  };
  lanes.margin = evaluator.margin = lane_margin;

  // All who stay first, since they take memory, too.
  all.settle(shards, present.shards);
  all.settle(lanes, present.lanes);
  all.settle(evaluator, {present.evaluator});
  for (auto* each : {&shards, &lanes, &evaluator}) {
    if (auto problem = all.house(*each, each == &shards ? present.keepers : std::vector<node_id>{}); !problem.empty())
      return {{}, std::move(problem)};
    if (mode == placement_mode::rebalance)
      all.balance(*each);
  }
  return {{all.ids(shards), all.ids(lanes), demands.evaluator ? all.ids(evaluator).front() : no_node,
           all.place_keepers(demands.keeper_bytes, shards, present.keepers)},
          {}};
}

}  // namespace

placement_result place(std::vector<placement_node> nodes, const placement_demands& demands, const placement& present,
                       placement_mode mode) {
  const auto known = nodes.size();
  std::erase_if(nodes, [](const placement_node& node) { return !node.accepts_work; });
  if (nodes.empty())
    return {{}, known == 0 ? "there is no node to place actors on\nhelp: let a node join"
                           : fmt::format("none of {} nodes accepts work: all are leaving\nhelp: let a node join",
                                         known)};
  for (const auto& node : nodes)
    assert(node.cores > 0.0 && node.speed > 0.0 && node.id != no_node);
  std::sort(nodes.begin(), nodes.end(),
            [](const placement_node& a, const placement_node& b) { return a.id < b.id; });
  auto result = plan(nodes, demands, present, mode);
  if (!result && mode == placement_mode::rebalance)
    result = plan(nodes, demands, {}, mode);
  return result;
}

double step_time(const std::vector<placement_node>& nodes, const std::vector<compute_demand>& lanes,
                 const std::vector<node_id>& where) {
  double slowest = 0.0;
  std::size_t found = 0;
  for (const auto& node : nodes) {
    double cores = 0.0;
    for (std::size_t lane = 0; lane < std::min(lanes.size(), where.size()); ++lane)
      if (where[lane] == node.id) {
        cores += lanes[lane].cores;
        ++found;
      }
    if (cores > 0.0)
      slowest = std::max(slowest, time_of_step(node, cores));
  }
  return found > 0 && found == lanes.size() ? slowest : std::numeric_limits<double>::infinity();
}

}  // namespace troupe
