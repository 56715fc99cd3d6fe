#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "actors/job.hpp"
#include "cli/cluster_access.hpp"
#include "cli/progress.hpp"
#include "cli/refusal_log.hpp"
#include "cli/run_directory.hpp"
#include "runtime/cluster/local_processes.hpp"

namespace troupe {

/// What `troupe train` was told about nodes.
struct cluster_request {
  std::uint32_t nodes = 0;      ///< processes to start on this machine
  std::string listen;           ///< "ADDRESS:PORT"; empty: for this machine's own nodes only
  double replace_after = 0.5;   ///< seconds, for a process of `nodes` that died
  std::uint32_t min_nodes = 0;  ///< 0: as many as `nodes`, else as a launcher started, at least one
  double wait_for_nodes = 600;  ///< seconds; see job_cluster::wait_for_nodes
  double recover_within = 15;   ///< seconds; see job_cluster::wait_for_memory
  access_options access;        ///< beyond this machine's own nodes
  std::string advertise;        ///< host under which nodes reach this process; empty: as it listens

  bool wanted() const noexcept { return nodes > 0 || !listen.empty(); }
};

/// The cluster of one `troupe train`: the network that nodes dial, and the local node processes. Leaves no process
/// behind, whatever ends it.
class hosted_cluster {
 public:
  /// Binds, so that what cannot be is refused before anything is begun. Throws usage_error.
  hosted_cluster(const cluster_request& request, console& people);
  ~hosted_cluster();
  hosted_cluster(const hosted_cluster&) = delete;
  hosted_cluster& operator=(const hosted_cluster&) = delete;

  /// Lets the run be found, and starts the processes. `tell` hears of whoever comes and goes, on any thread.
  void open(const run_directory& directory, std::function<void(const log_line&)> tell);

  const job_cluster& job() const noexcept { return job_; }

 private:
  void start_processes();
  /// Where this machine's processes reach the head.
  std::string near_endpoint() const;

  const cluster_request& request_;
  console& people_;
  cluster_access access_;
  bool secret_is_drawn_ = false;
  endpoint_parts where_;
  std::filesystem::path directory_;
  cluster_file found_by_;
  refusal_log refusals_{[this](const log_line& line) { job_.tell(line); }};
  job_cluster job_;
  std::unique_ptr<local_processes> processes_;
};

}  // namespace troupe
