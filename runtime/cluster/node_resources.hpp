#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

}  // namespace troupe
