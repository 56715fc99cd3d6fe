#pragma once

#include <chrono>
#include <memory>
#include <string>

#include <caf/all.hpp>

#include "actors/job.hpp"
#include "actors/job_context.hpp"
#include "actors/job_status.hpp"
#include "runtime/cluster/head.hpp"
#include "runtime/log_line.hpp"
#include "runtime/supervision/directory.hpp"

namespace troupe {

/// The nodes of a job, from the first that joins to the last that leaves. Used by the thread that called run_job, which
/// waits in here.
class job_nodes {
 public:
  /// How often a thread that waits looks up.
  static constexpr std::chrono::milliseconds look_up{50};

  /// Lets nodes join. Throws input_error for what no cluster can do. `settings` must outlive this.
  job_nodes(caf::actor_system& system, const directory_actor& names, const job_cluster& settings,
            const job_context_ptr& context, const std::shared_ptr<const job_status>& status);
  ~job_nodes();
  job_nodes(const job_nodes&) = delete;
  job_nodes& operator=(const job_nodes&) = delete;

  const std::shared_ptr<cluster_head>& head() const noexcept { return head_; }

  /// False: stopped meanwhile. Throws job_failed.
  bool wait_for_first(const stop_request* stop);

  /// For the cut that nodes had in memory when the last head was lost, where it is newer than the newest on disk.
  void wait_for_memory(const stop_request* stop);

  /// Throws job_failed where there has been no node, or no room on nodes, for too long, or another process has taken the
  /// run over.
  void check(const stop_request* stop);

  /// Lets all nodes go, and waits for that, within a bound.
  void dismiss(const std::string& reason);

 private:
  using clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds dismiss_within{5};
  static constexpr std::chrono::milliseconds look_every{500};

  void say(const char* event, std::string message, log_level level = log_level::info) const;
  void check_ownership();
  /// Says where nodes lack memory. Who is to stop a job that stands still for that does not wait for nodes either; and
  /// where nodes come from nowhere else there is nothing to wait for.
  void check_room(const stop_request* stop);
  void check_fitness() const;

  const job_cluster& settings_;
  const job_context_ptr context_;
  std::shared_ptr<cluster_head> head_;
  clock::time_point seen_;
  clock::time_point looked_;
  clock::time_point looked_for_room_;
  clock::time_point homeless_since_ = clock::now();
  bool unplaced_ = false;
};

}  // namespace troupe
