#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace troupe {

/// What a node offers to a job, as it says when it joins.
struct node_resources {
  std::string host;
  std::uint32_t process_id = 0;
  std::string build;                        ///< build_id()
  double cores = 1.0;                       ///< that may be used: by affinity and by quota
  std::uint64_t memory_bytes = 0;           ///< of the machine, or of the container; 0: unknown
  std::vector<std::string> devices{"cpu"};

  friend bool operator==(const node_resources&, const node_resources&) = default;
};

node_resources this_node();

nlohmann::json to_json(const node_resources& resources);

/// Believes nothing: throws input_error naming the key, what was found and what was expected, unless exactly the keys
/// of to_json are there, with values that a node can have. What another build sends may differ: where builds are
/// compared first, people learn of that instead.
node_resources node_resources_from_json(const nlohmann::json& object);

}  // namespace troupe
