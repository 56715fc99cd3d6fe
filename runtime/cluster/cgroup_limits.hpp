#pragma once

/// What a container or a batch system lets this process use, where that is less than the machine has.

#include <cstdint>
#include <filesystem>
#include <optional>

namespace troupe {

struct cgroup_limits {
  std::optional<double> cores;                ///< processor time per time, by quota
  std::optional<std::uint64_t> memory_bytes;
};

/// The tightest limits along the path of this process's groups, of versions 2 and 1 alike. What cannot be read limits
/// nothing. `root` stands for "/", for tests.
cgroup_limits read_cgroup_limits(const std::filesystem::path& root = "/");

}  // namespace troupe
