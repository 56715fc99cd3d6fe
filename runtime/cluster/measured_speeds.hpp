#pragma once

/// How fast nodes turn out to be while they work: from the time that steps of lanes take there. What a node measured when
/// it joined is right until it does the job's own work, or has to share its machine, or is throttled.
///
/// Times are averaged from one look to the next; whoever acts on them waits for several looks that agree. A node on which
/// no lane lives (any more) cannot be measured: it is taken for what it was last for `idle_trust_first`, then for what it
/// offered, so that one which has recovered gets work again. Where it is slow still that costs a few slow steps, and it is
/// asked after twice the time, up to `idle_trust_max`.

#include <chrono>
#include <map>
#include <optional>
#include <set>

#include "runtime/transport/parcel.hpp"

namespace troupe {

class measured_speeds {
 public:
  using clock = std::chrono::steady_clock;

  static constexpr std::chrono::minutes idle_trust_first{5};
  static constexpr std::chrono::minutes idle_trust_max{80};

  /// A step took `seconds`, above 0, of a lane that shared the cores of the node with others: `load` is by how much more
  /// cores they ask for than are there, at least 1.
  void note(node_id node, double seconds, double load);

  /// From now on what was noted since the last look counts. `laden`: the nodes on which lanes live.
  void look(clock::time_point now, const std::set<node_id>& laden);

  /// Steps per second of a lane that shares its cores with none; nothing where it was not measured.
  std::optional<double> find(node_id node) const;

 private:
  struct measurement {
    double unit_seconds = 0.0;  // since the last look
    int steps = 0;
    std::optional<double> speed;
    std::optional<clock::time_point> idle_since;
    clock::duration trust = idle_trust_first;
  };

  std::map<node_id, measurement> nodes_;
};

}  // namespace troupe
