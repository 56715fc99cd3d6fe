#pragma once

/// What launchers that people already use tell a node: torchrun (and whoever sets its variables) or Slurm.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace troupe {

/// The value of a variable; none where it is not set.
using variable_lookup = std::function<std::optional<std::string>(const char* name)>;

/// Of this process.
std::optional<std::string> environment_variable(const char* name);

/// Where the head listens when nothing says otherwise.
inline constexpr std::uint16_t default_port = 29'500;  // torchrun's, so that what lets one through lets both

struct launch_environment {
  std::optional<std::string> head;           ///< "HOST:PORT"; an IPv6 address in brackets
  std::optional<std::uint32_t> rank;         ///< of this process among those that the launcher started
  std::optional<std::uint32_t> world_size;   ///< how many those are
  std::optional<std::uint16_t> port;         ///< of the head
  std::optional<std::uint32_t> nodes;        ///< besides this process, where it is the head
};

/// Each answer comes from the first of
///
///   head         MASTER_ADDR and MASTER_PORT; SLURM_LAUNCH_NODE_IPADDR; the first host of SLURM_JOB_NODELIST
///   rank         RANK; SLURM_PROCID
///   world_size   WORLD_SIZE; SLURM_NTASKS
///   port         MASTER_PORT
///   nodes        all that were started; less this process, where it is one of them: RANK or SLURM_STEP_ID is set
///
/// that is set and not empty. A batch script of Slurm's is no task: SLURM_STEP_ID is not set there. The port is
/// MASTER_PORT in any case, where it is set, or else default_port. Throws input_error naming the variable, what it
/// holds and what it should.
launch_environment read_launch_environment(const variable_lookup& lookup = environment_variable);

/// The first host of a list as Slurm writes it: "gpu[03-05,9],login" gives "gpu03". Throws input_error.
std::string first_host(std::string_view list);

/// What all nodes of a cluster know and strangers do not: TROUPE_SECRET, or the content of the file that
/// TROUPE_SECRET_FILE names, less the line's end. None: neither is set. Throws input_error where both are, where the
/// secret is empty or longer than secret_bytes_max, or where the file cannot be read; no message holds a secret.
inline constexpr std::size_t secret_bytes_max = 4'096;
std::optional<std::string> read_cluster_secret(const variable_lookup& lookup = environment_variable);
/// The content of a file that holds a secret, under the same rules.
std::string read_secret_file(const std::filesystem::path& file);

}  // namespace troupe
