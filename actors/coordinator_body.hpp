#pragma once

/// The coordinator's body: what its actor (coordinator.hpp) knows and decides. By idea, it is defined in
///
///     coordinator.cpp            who lives, how far they got, stalls, the end
///     coordinator_barriers.cpp   what happens where all lanes stand level: evaluations, cuts
///     coordinator_moves.cpp      stopping lanes early, cuts before their time, moves between nodes
///     coordinator_recovery.cpp   what lost actors go on from

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actors/coordinator.hpp"
#include "actors/job_tree.hpp"
#include "actors/kept_cuts.hpp"
#include "actors/step_ledger.hpp"

namespace troupe {

/// Owned by one actor and used on its thread; no protocol of its own.
class coordinator {
 public:
  coordinator(coordinator_actor::pointer self, job_context_ptr context, std::shared_ptr<job_log> log,
              const child_context& born, caf::actor listener, job_places places);

  // -- its own end --------------------------------------------------------------------
  /// Before it fails. Nobody else tells: the log belongs to this coordinator as long as it lives.
  void fails_with(const caf::error& reason);
  /// Fails for good.
  void give_up(std::string why);

  // -- who lives --------------------------------------------------------------------
  void on(child_event& event);
  void on(const lane_stuck& message);
  void on(const restore_failed& message);
  void on(const backup_begun& message);
  void on(const backup_lost& message);

  // -- how far it got -----------------------------------------------------------------
  void on(const shard_report& report);
  void on(const lane_report& report);

  // -- stopping early -------------------------------------------------------------------
  void on(const stop_job&);
  void on(const lane_paused& message);

  // -- a cut before its time, and moving between nodes ------------------------------------
  void on(const node_ready&);
  void on(const node_leaving& message);
  void on(const cut_wanted&);

  // -- at the barrier ---------------------------------------------------------------------
  void on(const evaluation_started& message);
  void on(const evaluation_done& message);
  void on(const snapshot_taken& message);
  void on(const cut_published& message);
  void on(const cut_failed& message);
  void on(const cut_kept& message);
  void on(parameters& message);

 private:
  // -- starting and recovering ------------------------------------------------------------
  void put_to_work(const child_event& event);
  void note_end(role who);
  void recover(std::uint32_t shard);
  /// Unverified.
  std::optional<std::uint64_t> newest_on_disk() const;
  std::optional<cut> read_newest();
  void warn_of_other_arithmetic(std::uint64_t step);
  /// Gets to know what outlived the last head.
  void meet_survivors();
  void forget_survivor(std::uint32_t shard, const caf::actor& holder);
  void lose_survivor(const caf::actor_addr& whose);
  void dismiss_survivors();
  bool is_on_disk_otherwise(const cut_id& which) const;
  /// Of this shard; an empty handle where there is none.
  caf::actor survivor_of(std::uint32_t shard) const;
  /// All shards return to the newest cut that they all can return to, under a new epoch; the lanes follow.
  void restore_all();
  /// Only the lost shards return to the newest cut (bounded, async), or go on from their backups. The lanes ask all
  /// shards what is due and replay for those; the others drop what they have applied.
  void restore_lost();
  /// Tells a shard what it goes on from: the cut at `step`, wherever it is at hand.
  void restore(std::uint32_t shard, std::optional<std::uint64_t> step, std::vector<shard_origin>& on_disk,
               bool after_loss);
  /// Has a shard go on from where its backup is; the others, but those that are `lost` as well, get to know it.
  void take_over(std::uint32_t shard, const std::set<std::uint32_t>& lost);
  void end_restore(const shard_report& report);
  void introduce_keeper(std::uint32_t shard);
  /// Moves keepers that live where they are of no use.
  void settle_keepers();
  void begin_lane_of(std::uint32_t lane);
  void pause_lanes();
  /// As soon as all lanes stand level.
  void want_cut();
  /// Asks for a cut where none was made for too long.
  void watch_for_cuts();
  /// Has lanes move, at a cut taken for it, where steps would be shorter by much for some time.
  void watch_speeds();
  /// Whoever cannot be brought to pause does not keep the job from ending.
  void bound_stop();
  void stop_at(std::uint64_t step);

  // -- stalls ---------------------------------------------------------------------------------
  /// Bounds every wait of the job (P3): an actor that is stuck in a handler neither answers nor ends.
  void watch_for_stalls();
  /// Whether nothing but steps is waited for.
  bool awaits_steps() const;
  std::chrono::milliseconds stall_patience() const;
  std::string waiting_for() const;

  // -- progress -----------------------------------------------------------------------------
  bool at_barrier() const { return epoch_ > 0 && ledger_.reported_all() && ledger_.steps_done() == barrier_; }
  /// Tells of the steps that all shards have applied.
  void report_steps();
  void injure(const chaos_settings::kill& told);

  // -- barriers -------------------------------------------------------------------------------
  std::uint64_t next_barrier(std::uint64_t after) const;
  void move_barrier(std::uint64_t step);
  bool evaluation_due() const;
  /// Whether one is due at a step that all go on from: it was lost, or given up for a stop.
  bool lacks_evaluation(std::uint64_t step) const;
  /// Once: a cut is due, and the one before it is not on disk.
  void tell_of_slow_cut();
  bool cut_due() const;
  /// Whether the evaluation due here has its parameters; asks for it where it does not.
  bool served_evaluation();
  /// Whether the shards have taken the snapshots due here; asks for them where they have not.
  bool served_cut();
  /// Whether everybody lives where they should, as far as this barrier allows a move; moves them where they do not.
  bool served_moves();
  void finish_moves();
  void work_at_barrier();

  // -- the end ----------------------------------------------------------------------------------
  void finish();
  void end();

  struct evaluation_under_way {
    std::optional<std::uint64_t> step;
    bool holds_parameters = false;
  };

  struct cut_under_way {
    std::uint64_t step = 0;
    std::vector<bool> taken;  // by shard
    bool asked = false;
    bool taken_by_all = false;
    double pause_seconds = 0.0;
    bool failed = false;  // and is tried again after a while
  };

  coordinator_actor::pointer self_;
  caf::actor me_;
  job_context_ptr context_;
  std::shared_ptr<job_log> log_;
  caf::actor listener_;
  job_places places_;
  child_event own_;  // what was told last of this coordinator
  bool rebalance_;  // nodes may have joined, or turned out to be slow, since everybody found a place
  int slow_looks_ = 0;  // in a row: steps would be shorter with lanes elsewhere
  supervisor_actor tree_;
  roster alive_;
  std::set<std::uint32_t> unrestored_;  // shards that came up and wait for restore_shard
  struct restore_under_way {
    restore_source source = restore_source::beginning;
    bool after_loss = false;
  };
  std::map<std::uint32_t, restore_under_way> restoring_;  // shards that were told, and have not reported yet
  std::set<std::uint32_t> backed_up_;                     // shards whose keepers could take over
  kept_cuts kept_;
  std::vector<survivor> survivors_;  // until all shards are restored

  std::uint64_t epoch_ = 0;      // 0: not all shards have come up yet
  std::uint64_t barrier_ = 0;    // lanes may compute the steps below it
  std::uint64_t last_step_ = 0;  // the barrier at which the job ends
  bool stopping_ = false;
  bool ended_ = false;

  step_ledger ledger_;

  evaluation_under_way evaluation_;
  std::optional<std::uint64_t> evaluated_;  // the last step evaluated
  std::optional<cut_under_way> cut_;
  bool told_of_slow_cut_ = false;
  std::optional<std::uint64_t> saved_;      // the last step published
  std::optional<std::uint64_t> unsaved_;    // the last step that could not be written
  std::optional<caf::actor_clock::time_point> unsaved_since_;  // the cut at the end
  std::vector<std::optional<std::uint64_t>> paused_;  // by lane, while all are told to pause: where it stands

  bool early_cut_ = false;                      // one was asked for
  std::optional<std::uint64_t> early_cut_at_;   // where all lanes stand for it
  std::set<node_id> leaving_;                   // nodes that wait for us to move off them
  bool moved_ = false;                          // those who must move were told
  std::set<std::string> moving_;                // ... and have not started at their new homes yet
  std::vector<tensor> final_;               // at the end: all parameters
  std::uint64_t final_attempt_ = 0;
  std::uint64_t heard_ = 0;  // messages that mean progress
  bool awaits_steps_ = false;  // at the last look
  std::chrono::milliseconds silent_{0};  // since the last of them, as far as this process ran
  std::map<std::string, std::string> homes_;  // by actor: where it was started last, for people
};

}  // namespace troupe
