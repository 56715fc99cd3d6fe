#pragma once

/// The shard's body: what its actor (parameter_shard.hpp) knows and decides. By idea, it is defined in
///
///     parameter_shard.cpp           what it is restored from, its snapshots, its keeper; who reads
///     parameter_shard_updates.cpp   lanes' gradients become updates, here and on the backup

#include <optional>
#include <string>
#include <vector>

#include "actors/lane_gradients.hpp"
#include "actors/norm_exchange.hpp"
#include "actors/parameter_shard.hpp"
#include "actors/shard_memory.hpp"

namespace troupe {

/// Owned by one actor and used on its thread; no protocol of its own.
class parameter_shard {
 public:
  parameter_shard(parameter_shard_actor::pointer self, job_context_ptr context, std::uint32_t index,
                  caf::actor coordinator);

  // -- where it starts from ---------------------------------------------------------
  void on(const restore_shard& message);
  void on(kept_part& message);
  void on(kept_state& message);

  // -- its copies -----------------------------------------------------------------------
  void on(const take_snapshot& message);
  void on(const meet_keeper& message);
  void on(const backup_ready& message);
  void on(const update_received& message);

  // -- readers ----------------------------------------------------------------------------
  void on(const query_lane& message);
  void on(const pull_parameters& message);

  // -- gradients ----------------------------------------------------------------------------
  void on(push_gradient& message);
  void on(const complete_step& message);
  void on(const norm_part& message);
  void on(const norms_again& message);
  void on(const meet_shard& message);

  // -- its end ----------------------------------------------------------------------------------
  void before_end(const caf::error& reason);

 private:
  /// Of the slowest lane.
  std::uint64_t steps_done() const noexcept;
  std::uint64_t version_of(const shard_origin& from) const noexcept;

  void hold_kept(held_part&& kept);
  void restore_beginning();
  void restore(const shard_origin& from);
  void take_over(shard_state&& from);
  void fail_restore(std::string fault);
  void serve();

  std::vector<lane_progress> progress() const;
  /// Handles. REQUIRES: it holds a cut.
  shard_snapshot held_snapshot() const;
  /// What it holds of the last cut, unless its keeper has that already.
  void give_to_keeper();
  /// From now on the keeper is a backup, too.
  void begin_backup();
  void part_from_keeper();
  void show_updates();

  // Sync: one update for all lanes. Otherwise: one for each lane.
  void close_step();
  /// Shards wait for each other's before they update: the norm spans all; and with backups a shard that is a step ahead
  /// could not give the parameters any more from which lanes would repeat what another lost.
  void announce_norm();
  void finish_step();
  void apply(lane_gradients& lane);
  double learning_rate_at_step(std::uint64_t step) const;
  void update(shard_update what, const update_factors& factors);
  void finish_update();

  void report();
  void answer_queries();
  bool may_read(const pull_parameters& asked) const;
  void answer_pulls();

  struct waiting_pull {
    caf::actor reader;
    pull_parameters asked;
  };
  struct waiting_query {
    caf::actor reader;
    query_lane asked;
  };
  void send_values(const waiting_pull& pull);

  parameter_shard_actor::pointer self_;
  job_context_ptr context_;
  std::uint32_t index_;
  caf::actor coordinator_;
  shard_memory memory_;
  bool ready_ = false;
  std::uint64_t epoch_ = 0;
  std::uint64_t version_ = 0;
  std::vector<caf::actor> shards_;
  std::vector<lane_gradients> lanes_;
  std::vector<waiting_pull> pulls_;
  std::vector<waiting_query> queries_;

  std::optional<shard_update> pending_;  // sync: all lanes are in, the norm is not
  norm_exchange norms_;

  std::optional<shard_origin> held_;   // its part of the last cut; handles
  caf::actor keeper_;
  std::optional<std::uint64_t> kept_;  // the last cut that the keeper was given
  bool has_backup_ = false;            // the keeper was given the state
  std::uint64_t unconfirmed_ = 0;      // gradients that it was sent and has yet to say that it received

  std::vector<lane_result> results_;  // of the update to report
  std::vector<lane_result> recent_;   // of the last updates, for a backup that begins
  std::uint64_t duplicates_dropped_ = 0;
  std::uint64_t stale_dropped_ = 0;
  update_factors last_;
  std::uint64_t staleness_ = 0;
};

}  // namespace troupe
