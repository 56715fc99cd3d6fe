#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "actors/job.hpp"
#include "cli/cluster_access.hpp"
#include "cli/progress.hpp"
#include "cli/run_directory.hpp"
#include "runtime/cluster/local_processes.hpp"

namespace troupe {

/// What `troupe train` was told about nodes.
struct cluster_request {
  std::uint32_t nodes = 0;      ///< processes to start on this machine
  std::string listen;           ///< "ADDRESS:PORT"; empty: for this machine's own nodes only
  std::uint32_t min_nodes = 0;  ///< 0: as many as `nodes`, at least one
  access_options access;        ///< beyond this machine's own nodes
  std::string advertise;        ///< host under which nodes reach this process; empty: as it listens

  bool wanted() const noexcept { return nodes > 0 || !listen.empty(); }
};

/// The cluster of one `troupe train`: the network that nodes dial, and the local node processes. Leaves no process
/// behind, whatever ends it.
class hosted_cluster {
 public:
  hosted_cluster(const cluster_request& request, console& people, const run_directory& directory);
  ~hosted_cluster();
  hosted_cluster(const hosted_cluster&) = delete;
  hosted_cluster& operator=(const hosted_cluster&) = delete;

  const job_cluster& job() const noexcept { return job_; }

 private:
  void start_processes(const cluster_request& request, const cluster_access& access);

  console& people_;
  std::filesystem::path directory_;
  job_cluster job_;
  std::unique_ptr<local_processes> processes_;
};

}  // namespace troupe
