#include "runtime/cluster/measured_speeds.hpp"

#include <algorithm>

namespace troupe {

namespace {

/// Of a node between two looks: fewer say little, and are kept for the next look.
constexpr int steps_min = 3;

}  // namespace

void measured_speeds::note(node_id node, double seconds, double load) {
  auto& known = nodes_[node];
  known.unit_seconds += seconds / load;
  ++known.steps;
}

void measured_speeds::look(clock::time_point now, const std::set<node_id>& laden) {
  for (auto& [node, known] : nodes_) {
    if (known.steps >= steps_min) {
      known.speed = known.steps / known.unit_seconds;
      known.unit_seconds = 0.0;
      known.steps = 0;
    }
    if (laden.count(node) > 0) {
      known.idle_since.reset();
    } else if (!known.idle_since) {
      known.idle_since = now;
    } else if (known.speed && now - *known.idle_since >= known.trust) {
      known.speed.reset();
      known.trust = std::min<clock::duration>(2 * known.trust, idle_trust_max);
    }
  }
}

std::optional<double> measured_speeds::find(node_id node) const {
  const auto found = nodes_.find(node);
  return found == nodes_.end() ? std::nullopt : found->second.speed;
}

}  // namespace troupe
