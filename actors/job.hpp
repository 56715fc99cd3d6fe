#pragma once

/// Runs a training job: builds the tree of actors, waits for its end, reports.

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actors/job_settings.hpp"
#include "actors/shard_origin.hpp"
#include "models/model.hpp"
#include "runtime/log_line.hpp"
#include "runtime/transport/network.hpp"

namespace troupe {

/// What a job works on.
struct job_inputs {
  std::shared_ptr<const troupe::model> model;
  std::shared_ptr<const dataset> data;
  std::int64_t context = 0;                      ///< tokens per sample
  std::filesystem::path checkpoints;             ///< folder of the cuts; empty: none are written
  /// Kept in every cut, beside the data's fingerprint under "data", and under "arithmetic" how those rounded who computed it.
  std::map<std::string, std::string> documents;
  /// From the newest good cut; from the beginning where none was made yet; an input_error where none of them is good.
  bool resume = false;
  std::optional<std::uint64_t> evaluated{};  ///< the last step that was evaluated before, where that is known
};

/// Samples first .. first + count - 1, counted from the start of training over all epochs.
struct sample_range {
  std::uint64_t first = 0;
  std::uint64_t count = 0;

  friend bool operator==(const sample_range&, const sample_range&) = default;
};

struct step_report {
  std::uint64_t step = 0;  ///< steps done
  double loss = 0.0;       ///< mean over the step's targets
  double learning_rate = 0.0;
  double gradient_norm = 0.0;  ///< before clipping
  std::int64_t tokens = 0;     ///< of this step
  double seconds = 0.0;        ///< since the step before was done
  std::uint64_t staleness_max = 0;
  std::vector<sample_range> samples{};  ///< whose gradients had effect in it; in order
  std::optional<std::uint32_t> diverged_lane{};  ///< the first whose loss is not finite
};

struct evaluation_report {
  std::uint64_t step = 0;
  double train_loss = 0.0;
  double validation_loss = 0.0;  ///< not a number: there is no validation split
  double seconds = 0.0;
};

/// By validation loss; without a validation split the training split decides. A loss that is not finite is never better.
bool is_better(const evaluation_report& one, const std::optional<evaluation_report>& other);

struct cut_report {
  std::uint64_t step = 0;
  std::filesystem::path path;
  std::size_t size_bytes = 0;
  double pause_seconds = 0.0;  ///< longest time a shard could not serve because of the cut
  double write_seconds = 0.0;
};

struct shard_report;

/// After a loss a shard went on from a cut.
struct restore_report {
  std::uint32_t shard = 0;
  std::uint64_t step = 0;  ///< of the cut
  restore_source source = restore_source::beginning;
};

/// What a job tells while it runs; called on one actor's thread, in order. Each may be empty.
struct job_observer {
  std::function<void(const step_report&)> on_step;
  std::function<void(const evaluation_report&)> on_evaluation;
  std::function<void(const cut_report&)> on_cut;
  std::function<void(const child_event&)> on_event;     ///< starts, ends, restarts
  std::function<void(const std::string&)> on_warning;
  std::function<void(std::uint64_t step)> on_rollback;  ///< the job went back to this step
  std::function<void(const restore_report&)> on_restore;
  std::function<void(const shard_report&)> on_update = {};  ///< a shard applied gradients, or was restored
};

struct shard_counters {
  std::uint32_t shard = 0;
  std::uint64_t version = 0;
  std::vector<std::uint64_t> applied;  ///< by lane: gradients that had effect
  std::uint64_t duplicates_dropped = 0;
  std::uint64_t stale_dropped = 0;     ///< of an older epoch
};

struct job_summary {
  std::uint64_t first_step = 0;  ///< 0, or the step resumed from
  std::uint64_t steps = 0;       ///< done, in all
  std::uint64_t tokens = 0;      ///< trained on by this call, replays included
  double seconds = 0.0;          ///< of training, without set-up
  double last_loss = std::numeric_limits<double>::quiet_NaN();  ///< not a number: no step was done
  std::optional<evaluation_report> last_evaluation;
  std::optional<evaluation_report> best_evaluation;
  std::uint64_t killed = 0;      ///< by fault injection
  std::uint64_t restarts = 0;
  std::uint64_t rollbacks = 0;
  restore_counts restored;       ///< shards after losses, by where from
  std::uint64_t replays = 0;     ///< (lane, step) computed more than once
  std::vector<shard_counters> shards;
  std::string fingerprint;       ///< xxh3-128 of the parameter space in layout order, hexadecimal
  bool interrupted = false;      ///< stopped by request before its last step, or the evaluation of that
  std::filesystem::path last_cut;
};

/// Set from a signal handler or another thread.
struct stop_request {
  std::atomic<bool> stop{false};  ///< the job saves a cut and ends
  std::atomic<bool> cut{false};   ///< the job saves a cut and goes on; taken back when it was told
};

/// Runs a job's actors on the nodes of a cluster; only the coordinator and the checkpoint writer stay here. Needs
/// `job_inputs::checkpoints`: what a lost node held comes back from the last cut.
struct job_cluster {
  std::shared_ptr<network> carrier;              ///< that nodes dial; not started yet
  std::uint32_t min_nodes = 1;                   ///< before the first step
  std::chrono::milliseconds wait_for_nodes{600'000};  ///< with fewer than min_nodes at first; then without any with room
  bool alike = false;                            ///< what one node cannot do, none can: do not wait for others
  std::filesystem::path journal;                 ///< see job_journal; empty: nobody is to take the job over
  /// For nodes that hold a cut in memory which is newer than the newest on disk, before a job is resumed without them.
  /// 0: nobody is expected to hold any.
  std::chrono::milliseconds wait_for_memory{15'000};
  std::function<void(const log_line&)> tell;     ///< nodes that come and go; called on threads of actors
};

/// Blocks until the job ends. Throws input_error for impossible settings; training_diverged where the settings say that
/// this is the end; when supervision gave up, system_error where that was for want of memory or of room on a disk, else
/// job_failed; job_failed, too, when the nodes stayed away.
job_summary run_job(const job_inputs& inputs, const job_settings& settings, const job_observer& observer = {},
                    stop_request* stop = nullptr, const job_cluster* on = nullptr);

/// Supervision gave up: what() leads with the root cause.
class job_failed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A loss or gradient was not finite, see training_settings::on_divergence. No cut of that state was written.
class training_diverged : public job_failed {
 public:
  using job_failed::job_failed;
};

}  // namespace troupe
