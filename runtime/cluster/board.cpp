#include "runtime/cluster/board.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace troupe {

const char* to_string(node_state state) {
  switch (state) {
    case node_state::joining: return "joining";
    case node_state::ready: return "ready";
    case node_state::leaving: return "leaving";
    case node_state::gone: return "gone";
  }
  return "unknown";
}

// -- nodes --------------------------------------------------------------------------

node_id cluster_board::add(node_offer offer) {
  const std::lock_guard lock(mutex_);
  node_record record;
  record.id = static_cast<node_id>(nodes_.size() + 1);
  record.offer = std::move(offer);
  record.memory_bytes = record.offer.resources.memory_bytes;
  record.joined = std::chrono::system_clock::now();
  nodes_.push_back(record);
  return record.id;
}

void cluster_board::set_state(node_id node, node_state state) {
  const std::lock_guard lock(mutex_);
  auto& record = nodes_.at(node - 1);
  if (record.state != node_state::gone)
    record.state = state;
}

void cluster_board::release(node_id node) {
  set_state(node, node_state::leaving);
  const std::lock_guard lock(mutex_);
  nodes_.at(node - 1).released = true;
}

void cluster_board::set_fault(node_id node, const std::string& fault) {
  const std::lock_guard lock(mutex_);
  nodes_.at(node - 1).fault = fault;
}

void cluster_board::set_memory(node_id node, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (bytes > 0)
    nodes_.at(node - 1).memory_bytes = bytes;
}

void cluster_board::set_arithmetic(node_id node, const std::string& arithmetic) {
  const std::lock_guard lock(mutex_);
  nodes_.at(node - 1).arithmetic = arithmetic;
}

bool cluster_board::set_kept(node_id node, std::vector<std::uint32_t> shards) {
  const std::lock_guard lock(mutex_);
  return std::exchange(nodes_.at(node - 1).kept, shards) != shards;
}

bool cluster_board::remove(node_id node, const std::string& evidence) {
  const std::lock_guard lock(mutex_);
  auto& record = nodes_.at(node - 1);
  if (record.state == node_state::gone)
    return false;
  record.state = node_state::gone;
  record.ended = std::chrono::system_clock::now();
  record.evidence = evidence;
  return true;
}

std::optional<node_record> cluster_board::find(node_id node) const {
  const std::lock_guard lock(mutex_);
  return node == head_node || node > nodes_.size() ? std::nullopt : std::optional(nodes_[node - 1]);
}

std::optional<node_record> cluster_board::first_to_compute() const {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(nodes_.begin(), nodes_.end(), [](const auto& node) { return !node.arithmetic.empty(); });
  return found == nodes_.end() ? std::nullopt : std::optional(*found);
}

std::vector<node_record> cluster_board::nodes() const {
  const std::lock_guard lock(mutex_);
  return nodes_;
}

std::size_t cluster_board::count(node_state state) const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(
      std::count_if(nodes_.begin(), nodes_.end(), [&](const auto& node) { return node.state == state; }));
}

// -- speeds -------------------------------------------------------------------------

void cluster_board::note_step(std::uint32_t lane, double seconds) {
  const std::lock_guard lock(mutex_);
  if (seconds <= 0.0 || lane >= homes_.lanes.size() || !accepts(homes_.lanes[lane]))
    return;
  const auto home = homes_.lanes[lane];
  double cores = 0.0;
  for (std::size_t i = 0; i < homes_.lanes.size(); ++i)
    if (homes_.lanes[i] == home)
      cores += demands_.lanes[i].cores;
  speeds_.note(home, seconds, std::max(1.0, cores / nodes_[home - 1].offer.resources.cores));
}

double cluster_board::look_at_speeds(measured_speeds::clock::time_point now) {
  const std::lock_guard lock(mutex_);
  speeds_.look(now, {homes_.lanes.begin(), homes_.lanes.end()});
  const auto nodes = candidates();
  const auto better = place(nodes, demands_, homes_, placement_mode::rebalance);
  const auto present = step_time(nodes, demands_.lanes, homes_.lanes);
  if (!better || std::isinf(present))
    return 1.0;
  return std::max(1.0, present / step_time(nodes, demands_.lanes, better.where.lanes));
}

/// What makes of offered speeds, in whatever unit, such as were measured: for nodes that were not. The median over those
/// that were.
double cluster_board::offered_to_measured() const {
  std::vector<double> ratios;
  for (const auto& node : nodes_)
    if (const auto measured = speeds_.find(node.id); measured && node.state == node_state::ready)
      ratios.push_back(*measured / node.offer.speed);
  if (ratios.empty())
    return 1.0;
  const auto middle = ratios.begin() + static_cast<std::ptrdiff_t>(ratios.size() / 2);
  std::nth_element(ratios.begin(), middle, ratios.end());
  return *middle;
}

// -- places -------------------------------------------------------------------------

std::vector<placement_node> cluster_board::candidates() const {
  const auto unit = offered_to_measured();
  std::vector<placement_node> all;
  for (const auto& node : nodes_)
    if (node.state == node_state::ready)
      all.push_back({node.id, node.offer.resources.cores, node.memory_bytes,
                     speeds_.find(node.id).value_or(unit * node.offer.speed), true});
  return all;
}

bool cluster_board::accepts(node_id node) const { return is_in(node, node_state::ready); }

bool cluster_board::is_leaving(node_id node) const { return is_in(node, node_state::leaving); }

bool cluster_board::is_in(node_id node, node_state state) const {
  return node != no_node && node <= nodes_.size() && nodes_[node - 1].state == state;
}

/// Whoever else lives on a node that leaves is not to have another home yet: it is asked to move, at a cut.
template <class Pick>
node_id cluster_board::home(Pick pick) {
  const std::lock_guard lock(mutex_);
  if (const auto* present = pick(homes_); present && accepts(*present))
    return *present;
  auto repaired = place(candidates(), demands_, homes_, placement_mode::repair);
  if (!repaired)
    return no_node;
  const auto found = *pick(repaired.where);
  const auto stay = [this](std::vector<node_id>& next, const std::vector<node_id>& present) {
    for (std::size_t i = 0; i < present.size(); ++i)
      if (is_leaving(present[i]))
        next[i] = present[i];
  };
  stay(repaired.where.shards, homes_.shards);
  stay(repaired.where.lanes, homes_.lanes);
  if (is_leaving(homes_.evaluator))
    repaired.where.evaluator = homes_.evaluator;
  homes_ = std::move(repaired.where);
  return *pick(homes_) = found;
}

node_id cluster_board::home_of_shard(std::uint32_t shard) {
  return home([shard](placement& where) { return shard < where.shards.size() ? &where.shards[shard] : nullptr; });
}

node_id cluster_board::home_of_lane(std::uint32_t lane) {
  return home([lane](placement& where) { return lane < where.lanes.size() ? &where.lanes[lane] : nullptr; });
}

node_id cluster_board::home_of_evaluator() {
  return home([](placement& where) { return &where.evaluator; });
}

node_id cluster_board::home_of_keeper(std::uint32_t shard) {
  const std::lock_guard lock(mutex_);
  if (shard >= homes_.keepers.size())
    return no_node;  // its shard has none yet either
  if (!accepts(homes_.keepers[shard]))
    place_keepers(homes_);
  return accepts(homes_.keepers[shard]) ? homes_.keepers[shard] : no_node;
}

/// Finds homes for keepers, and for nobody else.
void cluster_board::place_keepers(const placement& present) {
  if (auto repaired = place(candidates(), demands_, present, placement_mode::repair))
    homes_.keepers = std::move(repaired.where.keepers);
}

placement_moves cluster_board::rebalance() {
  const std::lock_guard lock(mutex_);
  auto balanced = place(candidates(), demands_, homes_, placement_mode::rebalance);
  placement_moves moves;
  if (!balanced)
    return moves;
  const auto& next = balanced.where;
  for (std::uint32_t i = 0; i < next.shards.size(); ++i)
    if (i < homes_.shards.size() && next.shards[i] != homes_.shards[i])
      moves.shards.push_back(i);
  for (std::uint32_t i = 0; i < next.lanes.size(); ++i)
    if (i < homes_.lanes.size() && next.lanes[i] != homes_.lanes[i])
      moves.lanes.push_back(i);
  moves.evaluator = homes_.evaluator != no_node && next.evaluator != homes_.evaluator;
  balanced.where.keepers = std::move(homes_.keepers);  // they follow when the shards have moved
  homes_ = std::move(balanced.where);
  return moves;
}

std::vector<std::uint32_t> cluster_board::settle_keepers() {
  const std::lock_guard lock(mutex_);
  auto unsettled = homes_;
  std::vector<std::uint32_t> moves;
  for (std::uint32_t i = 0; i < unsettled.keepers.size(); ++i) {
    auto& home = unsettled.keepers[i];
    if (home == no_node || (home != unsettled.shards[i] && accepts(home)))
      continue;
    home = no_node;
    moves.push_back(i);
  }
  if (!moves.empty())
    place_keepers(unsettled);
  return moves;
}

bool cluster_board::is_empty(node_id node) const {
  const std::lock_guard lock(mutex_);
  const auto here = [node](node_id home) { return home == node; };
  return std::none_of(homes_.shards.begin(), homes_.shards.end(), here) &&
         std::none_of(homes_.lanes.begin(), homes_.lanes.end(), here) && homes_.evaluator != node;
}

std::string cluster_board::unplaced() const {
  const std::lock_guard lock(mutex_);
  return place(candidates(), demands_, homes_, placement_mode::repair).problem;
}

bool cluster_board::is_anybody_homeless() const {
  const std::lock_guard lock(mutex_);
  const auto homeless = [this](node_id home) { return !accepts(home) && !is_leaving(home); };
  return homes_.shards.size() < demands_.shard_bytes.size() || homes_.lanes.size() < demands_.lanes.size() ||
         std::any_of(homes_.shards.begin(), homes_.shards.end(), homeless) ||
         std::any_of(homes_.lanes.begin(), homes_.lanes.end(), homeless) ||
         (demands_.evaluator && homeless(homes_.evaluator));
}

placement cluster_board::homes() const {
  const std::lock_guard lock(mutex_);
  return homes_;
}

}  // namespace troupe
