#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "runtime/tensor/device.hpp"

namespace troupe {

/// The devices of this process that compute, and who of a job computes on which. Thread safe. Results do not depend on it;
/// what each device must hold does, so everybody is given one in the order of being spawned (spawn_role).
class computing_devices {
 public:
  /// May be none: in a process that only leads.
  explicit computing_devices(std::vector<device*> all) : all_(std::move(all)) {}

  /// The one that the fewest lanes of this process were given; a lane that comes again gets the one it had.
  device& of_lane(std::uint32_t lane) { return pick(lanes_, lane); }
  /// Likewise.
  device& of_shard(std::uint32_t shard) { return pick(shards_, shard); }
  /// The last, which has no more lanes than any other.
  device& of_evaluator() {
    require_any();
    return *all_.back();
  }

 private:
  void require_any() const { assert(!all_.empty() && "a process that only leads was asked to compute"); }

  device& pick(std::map<std::uint32_t, device*>& given, std::uint32_t index) {
    require_any();
    const std::lock_guard lock(mutex_);
    auto& own = given[index];
    if (!own)
      own = *std::ranges::min_element(all_, {}, [&](device* each) {
        return std::ranges::count_if(given, [&](const auto& other) { return other.second == each; });
      });
    return *own;
  }

  const std::vector<device*> all_;
  std::mutex mutex_;
  std::map<std::uint32_t, device*> lanes_;
  std::map<std::uint32_t, device*> shards_;
};

}  // namespace troupe
