#include "runtime/cluster/placement.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include <doctest/doctest.h>

#include "tests/seeds.hpp"

using namespace troupe;

namespace {

constexpr std::uint64_t gib = std::uint64_t{1} << 30;
constexpr double rounding = 1.0 + 1e-9;

/// A random cluster, what it is to carry, and where all that stands now, with nodes that are gone or leaving.
struct scene {
  std::vector<placement_node> nodes;
  placement_demands demands;
  placement present;

  explicit scene(std::uint64_t seed) : random(seed) {
    const auto count = 1 + below(8);
    for (node_id id = 0; id < count; ++id)
      nodes.push_back({.id = id * 3,
                       .cores = 1.0 + static_cast<double>(below(16)),
                       .memory_bytes = 0,
                       .speed = chance(2) ? 1.0 : 0.2 + static_cast<double>(below(100)) / 50.0,
                       .accepts_work = id == 0 || !chance(5)});
    const auto shards = below(20);
    const bool alike = chance(2);
    for (std::uint64_t i = 0; i < shards; ++i)
      demands.shard_bytes.push_back(alike ? gib : below(gib));
    const auto cores = 1.0 + static_cast<double>(below(4));
    demands.lanes.resize(1 + below(32), {.cores = cores, .memory_bytes = 0});
    if (chance(2))
      demands.evaluator = compute_demand{.cores = cores, .memory_bytes = 0};
    if (chance(2))
      demands.keeper_bytes = demands.shard_bytes;
    if (chance(4))
      return;
    for (std::uint64_t i = 0; i < shards; ++i)
      present.shards.push_back(somewhere());
    for (std::size_t i = 0; i < demands.lanes.size(); ++i)
      present.lanes.push_back(somewhere());
    present.evaluator = somewhere();
    for (std::size_t i = 0; i < demands.keeper_bytes.size(); ++i)
      present.keepers.push_back(chance(8) ? no_node : somewhere());
  }

  std::uint64_t below(std::uint64_t bound) { return random() % bound; }
  bool chance(std::uint64_t one_in) { return below(one_in) == 0; }
  node_id somewhere() { return static_cast<node_id>(chance(8) ? 1'000 : below(nodes.size()) * 3); }

  const placement_node* accepting(node_id id) const {
    for (const auto& node : nodes)
      if (node.id == id && node.accepts_work)
        return &node;
    return nullptr;
  }

  placement place(placement_mode mode) const { return place_from(present, mode); }
  placement place_from(const placement& before, placement_mode mode) const {
    const auto result = troupe::place(nodes, demands, before, mode);
    REQUIRE_MESSAGE(result, result.problem);
    return result.where;
  }

  std::mt19937_64 random;
};

void check_complete(const scene& given, const placement& found) {
  REQUIRE(found.shards.size() == given.demands.shard_bytes.size());
  REQUIRE(found.lanes.size() == given.demands.lanes.size());
  for (const auto id : found.shards)
    CHECK(given.accepting(id));
  for (const auto id : found.lanes)
    CHECK(given.accepting(id));
  if (given.demands.evaluator)
    CHECK(given.accepting(found.evaluator));
  else
    CHECK(found.evaluator == no_node);
}

/// A keeper for every shard as soon as there is another node.
void check_keepers(const scene& given, const placement& found) {
  const auto accepting = std::count_if(given.nodes.begin(), given.nodes.end(), [](auto& node) { return node.accepts_work; });
  REQUIRE(found.keepers.size() == given.demands.keeper_bytes.size());
  for (std::size_t i = 0; i < found.keepers.size(); ++i) {
    CHECK(found.keepers[i] != found.shards[i]);
    CHECK((accepting > 1 ? given.accepting(found.keepers[i]) != nullptr : found.keepers[i] == no_node));
  }
}

void check_shards_balanced(const scene& given, const placement& found) {
  std::map<node_id, std::uint64_t> bytes, smallest;
  for (std::size_t i = 0; i < found.shards.size(); ++i) {
    const auto size = given.demands.shard_bytes[i];
    bytes[found.shards[i]] += size;
    const auto [entry, first] = smallest.try_emplace(found.shards[i], size);
    entry->second = std::min(entry->second, size);
  }
  for (const auto& [heavy, much] : bytes)
    for (const auto& node : given.nodes)
      if (node.accepts_work)
        CHECK(much <= bytes[node.id] + smallest[heavy]);
}

double step_time(const placement_node& node, double cores) {
  return std::max(1.0, cores / node.cores) / node.speed;
}

/// The slowest node's time in the best placement of lanes that are all alike: give each to whom it delays least.
double best_time(const scene& given) {
  std::map<node_id, double> cores;
  double slowest = 0.0;
  for (const auto& lane : given.demands.lanes) {
    const placement_node* best = nullptr;
    for (const auto& node : given.nodes)
      if (node.accepts_work && (!best || step_time(node, cores[node.id] + lane.cores) <
                                           step_time(*best, cores[best->id] + lane.cores)))
        best = &node;
    cores[best->id] += lane.cores;
    slowest = std::max(slowest, step_time(*best, cores[best->id]));
  }
  return slowest;
}

std::map<node_id, double> cores_asked(const scene& given, const placement& found) {
  std::map<node_id, double> cores;
  for (std::size_t i = 0; i < found.lanes.size(); ++i)
    cores[found.lanes[i]] += given.demands.lanes[i].cores;
  return cores;
}

void check_lanes_balanced(const scene& given, const placement& found) {
  auto cores = cores_asked(given, found);
  for (const auto& [id, asked] : cores)
    CHECK(step_time(*given.accepting(id), asked) <= 1.25 * best_time(given) * rounding);
  // Between twins the loads differ by a lane, or by less than a tenth.
  const auto lane = given.demands.lanes.front().cores;
  for (const auto& heavy : given.nodes)
    for (const auto& light : given.nodes)
      if (heavy.accepts_work && light.accepts_work && heavy.cores == light.cores && heavy.speed == light.speed)
        CHECK(0.9 * cores[heavy.id] <= (cores[light.id] + lane) * rounding);
}

std::vector<std::size_t> lanes_by_node(const std::vector<placement_node>& nodes, std::size_t lanes,
                                       const placement& present = {},
                                       placement_mode mode = placement_mode::rebalance) {
  placement_demands demands;
  demands.lanes.resize(lanes);
  const auto result = place(nodes, demands, present, mode);
  REQUIRE_MESSAGE(result, result.problem);
  std::vector<std::size_t> counts;
  for (const auto& node : nodes)
    counts.push_back(static_cast<std::size_t>(
      std::count(result.where.lanes.begin(), result.where.lanes.end(), node.id)));
  return counts;
}

using counts = std::vector<std::size_t>;

}  // namespace

TEST_CASE("everybody is placed on a node that accepts work, and balanced: fresh or rebalanced") {
  for_each_seed(500, [](std::uint64_t seed) {
    const scene given(seed);
    for (const auto& found : {given.place_from({}, placement_mode::repair), given.place(placement_mode::rebalance)}) {
      check_complete(given, found);
      check_keepers(given, found);
      check_shards_balanced(given, found);
      check_lanes_balanced(given, found);
    }
  });
}

TEST_CASE("repair places the homeless and moves nobody else") {
  for_each_seed(500, [](std::uint64_t seed) {
    const scene given(seed);
    const auto found = given.place(placement_mode::repair);
    check_complete(given, found);
    for (std::size_t i = 0; i < given.present.shards.size(); ++i)
      if (given.accepting(given.present.shards[i]))
        CHECK(found.shards[i] == given.present.shards[i]);
    for (std::size_t i = 0; i < given.present.lanes.size(); ++i)
      if (given.accepting(given.present.lanes[i]))
        CHECK(found.lanes[i] == given.present.lanes[i]);
    if (given.demands.evaluator && given.accepting(given.present.evaluator))
      CHECK(found.evaluator == given.present.evaluator);
    for (std::size_t i = 0; i < given.present.keepers.size(); ++i) {
      if (given.accepting(given.present.keepers[i]))
        CHECK(found.keepers[i] == given.present.keepers[i]);
      if (!given.accepting(given.present.shards[i]) && given.accepting(given.present.keepers[i]))
        CHECK(found.shards[i] == given.present.keepers[i]);
    }
  });
}

TEST_CASE("rebalancing what is balanced moves nothing") {
  for_each_seed(500, [](std::uint64_t seed) {
    const scene given(seed);
    const auto fresh = given.place_from({}, placement_mode::repair);
    CHECK(given.place_from(fresh, placement_mode::rebalance) == fresh);
    const auto balanced = given.place(placement_mode::rebalance);
    CHECK(given.place_from(balanced, placement_mode::rebalance) == balanced);
  });
}

TEST_CASE("the answer does not depend on the order of nodes") {
  for_each_seed(100, [](std::uint64_t seed) {
    scene given(seed);
    const auto found = given.place(placement_mode::rebalance);
    std::shuffle(given.nodes.begin(), given.nodes.end(), given.random);
    CHECK(given.place(placement_mode::rebalance) == found);
  });
}

TEST_CASE("memory, where known, is never exceeded by what is placed anew") {
  for_each_seed(500, [](std::uint64_t seed) {
    scene given(seed);
    for (auto& node : given.nodes)
      node.memory_bytes = given.chance(4) ? 0 : gib + given.below(8 * gib);
    for (auto& lane : given.demands.lanes)
      lane.memory_bytes = gib / 8;
    const auto result = place(given.nodes, given.demands, given.present, placement_mode::rebalance);
    if (!result) {
      CHECK(result.problem.find(" needs ") != std::string::npos);
      return;
    }
    check_complete(given, result.where);
    std::map<node_id, std::uint64_t> bytes;
    for (std::size_t i = 0; i < result.where.shards.size(); ++i)
      bytes[result.where.shards[i]] += given.demands.shard_bytes[i];
    for (const auto id : result.where.lanes)
      bytes[id] += gib / 8;
    for (const auto& [id, used] : bytes)
      if (const auto limit = given.accepting(id)->memory_bytes; limit > 0)
        CHECK(used <= limit);
  });
}

TEST_CASE("a slow node gets fewer lanes, and none where it would hold up the others") {
  // 8 lanes fit the cores of the fast: a lane on the slow would double the time of a step.
  CHECK(lanes_by_node({{.id = 0, .cores = 4}, {.id = 1, .cores = 4}, {.id = 2, .cores = 4, .speed = 0.5}}, 8) ==
        counts{4, 4, 0});
  // With more lanes than cores the fast are slowed down, too.
  CHECK(lanes_by_node({{.id = 0, .cores = 4}, {.id = 1, .cores = 4}, {.id = 2, .cores = 4, .speed = 0.5}}, 20) ==
        counts{8, 8, 4});
  CHECK(lanes_by_node({{.id = 0, .cores = 8}, {.id = 1, .cores = 2}}, 10) == counts{8, 2});
}

TEST_CASE("speeds that differ by little do not crowd the lanes on the fastest node") {
  CHECK(lanes_by_node({{.id = 0, .cores = 16, .speed = 0.9}, {.id = 1, .cores = 16, .speed = 1.0}}, 2) ==
        counts{1, 1});
  CHECK(lanes_by_node({{.id = 0, .cores = 16, .speed = 0.95}, {.id = 1, .cores = 16, .speed = 1.0}}, 8) ==
        counts{4, 4});
}

TEST_CASE("a node that joins is given its part, by as few moves as that takes") {
  const std::vector<placement_node> nodes{{.id = 0, .cores = 2}, {.id = 1, .cores = 2}, {.id = 2, .cores = 2}};
  const placement present{{0, 0, 0, 1, 1, 1}, {0, 0, 0, 1, 1, 1}, 0, {}};
  const placement_demands demands{std::vector<std::uint64_t>(6, gib), std::vector<compute_demand>(6), compute_demand{}, {}};
  const auto result = place(nodes, demands, present, placement_mode::rebalance);
  REQUIRE(result);
  for (const auto id : {0u, 1u, 2u}) {
    CHECK(std::count(result.where.shards.begin(), result.where.shards.end(), id) == 2);
    CHECK(std::count(result.where.lanes.begin(), result.where.lanes.end(), id) == 2);
  }
  for (std::size_t i = 0; i < 6; ++i) {
    CHECK((result.where.shards[i] == present.shards[i] || result.where.shards[i] == 2));
    CHECK((result.where.lanes[i] == present.lanes[i] || result.where.lanes[i] == 2));
  }
  CHECK(result.where.evaluator == 0);
}

TEST_CASE("keepers live on the neighbours of their shards, and yield where memory is short") {
  const std::vector<placement_node> nodes{{.id = 1}, {.id = 2}, {.id = 3, .memory_bytes = 3 * gib}};
  placement_demands demands;
  demands.shard_bytes = demands.keeper_bytes = {gib, gib, gib};
  auto found = place(nodes, demands, {}, placement_mode::repair).where;
  CHECK(found.shards == std::vector<node_id>{1, 2, 3});
  CHECK(found.keepers == std::vector<node_id>{2, 3, 1});
  demands.keeper_bytes[1] = 3 * gib;
  CHECK(place(nodes, demands, {}, placement_mode::repair).where.keepers == std::vector<node_id>{2, 1, 2});
  const std::vector<placement_node> small{{.id = 1, .memory_bytes = 2 * gib}, {.id = 2, .memory_bytes = 2 * gib}};
  found = place(small, demands, {}, placement_mode::repair).where;
  CHECK(found.shards == std::vector<node_id>{1, 2, 1});
  CHECK(found.keepers == std::vector<node_id>{2, no_node, no_node});
}

TEST_CASE("the evaluator goes to the least loaded node") {
  placement_demands demands;
  demands.lanes.resize(2);
  demands.evaluator = compute_demand{};
  const auto result = place({{.id = 4, .cores = 4}, {.id = 5, .cores = 4}, {.id = 6, .cores = 4}}, demands, {},
                            placement_mode::repair);
  REQUIRE(result);
  CHECK(result.where.lanes == std::vector<node_id>{4, 5});
  CHECK(result.where.evaluator == 6);
}

TEST_CASE("without a node, or without memory, the result says why") {
  placement_demands demands{{3 * gib}, {}, {}, {}};
  auto result = place({}, demands, {}, placement_mode::repair);
  CHECK(!result);
  CHECK(result.problem == "there is no node to place actors on\nhelp: let a node join");
  result = place({{.id = 1, .accepts_work = false}}, demands, {}, placement_mode::rebalance);
  CHECK(result.problem == "none of 1 nodes accepts work: all are leaving\nhelp: let a node join");
  result = place({{.id = 1, .memory_bytes = gib}, {.id = 7, .memory_bytes = 2 * gib}}, demands, {},
                 placement_mode::repair);
  CHECK(result.problem == "shard 0 needs 3072.0 MiB of memory, and no node has that much left: node 7 has the most, "
                          "2048.0 MiB of 2048.0 MiB\n"
                          "help: let more nodes join, or cut the model into more shards");
}

TEST_CASE("rebalance relieves a node whose memory is exceeded; repair lets the settled stay") {
  const std::vector<placement_node> nodes{{.id = 0, .memory_bytes = 2 * gib}, {.id = 1, .memory_bytes = 2 * gib}};
  const placement_demands demands{{gib, gib, gib}, {}, {}, {}};
  const placement present{{0, 0, 0}, {}, no_node, {}};
  CHECK(place(nodes, demands, present, placement_mode::repair).where.shards == std::vector<node_id>{0, 0, 0});
  CHECK(place(nodes, demands, present, placement_mode::rebalance).where.shards == std::vector<node_id>{0, 0, 1});
}
