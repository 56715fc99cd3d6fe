#pragma once

/// Everything a training job is told. A run file is one way to fill it, C++ another; see `run_job`.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "models/data/dataset.hpp"
#include "models/evaluation.hpp"
#include "models/optimizer.hpp"
#include "models/schedule.hpp"
#include "runtime/checkpoint/store.hpp"
#include "runtime/supervision/supervisor.hpp"
#include "runtime/tensor/device.hpp"
#include "runtime/transport/network.hpp"

namespace troupe {

enum class consistency_mode : std::uint8_t {
  sync,     ///< an update sums all lanes' gradients of a step
  bounded,  ///< each lane's gradient is an update; the fastest lane is at most `staleness` steps ahead
  async,    ///< each lane's gradient is an update; nobody waits
};

struct consistency_settings {
  enum class compensation_kind : std::uint8_t { none, constant, adaptive };
  consistency_mode mode = consistency_mode::sync;
  std::uint64_t staleness = 4;                                    ///< bounded
  compensation_kind delay_compensation = compensation_kind::none; ///< DC-ASGD, arXiv:1609.08326
  double compensation_lambda = 0.04;
  double compensation_decay = 0.95;                               ///< adaptive: of the mean square
  bool staleness_scaled_rate = false;                             ///< learning rate / max(1, staleness), arXiv:1511.05950
};

/// What to do when a loss or a gradient is not finite: nothing that is learned from then on is worth anything.
enum class divergence_response : std::uint8_t {
  stop,  ///< end the job before a cut is written of it
  warn,  ///< once, and go on
};

struct training_settings {
  std::uint64_t steps = 1000;
  std::uint32_t lanes = 1;         ///< logical data-parallel workers, fixed for the life of the job
  std::int64_t batch = 12;         ///< sequences per step over all lanes and accumulation; divisible by both
  std::uint32_t accumulation = 1;  ///< micro-batches per lane and step
  double clip = 1.0;               ///< global norm of the gradient; 0: none
  divergence_response on_divergence = divergence_response::stop;
  std::uint64_t seed = 1337;
  /// Blocks whose activations are recomputed in the backward pass: "none", "all", or ranges such as "0-3,7" that
  /// count transformer blocks.
  std::string recompute = "none";
  /// Of passes; shards keep and update parameters in float32 whatever it is.
  precision_kind precision = precision_kind::automatic;
};

struct runtime_settings {
  std::uint32_t shards = 1;
  int threads = 1;            ///< mathematics threads of each replica, shard and evaluator
  std::uint32_t prefetch = 2; ///< batches a loader reads ahead for its lane
  std::string device = "cpu";
  bool cuda_graphs = false;   ///< on GPUs, launch each block of a pass as a CUDA graph; never ran on one
  /// Copies of each shard's present state, on different nodes: 1, or 2 where a backup takes over without a rollback.
  std::uint32_t replication = 1;
  /// On nodes: for how long steps must have been longer by a fifth than with lanes spread by what each node does, before
  /// lanes move for it. 0: they never do.
  std::chrono::milliseconds rebalance_after{60'000};
};

struct checkpoint_settings {
  std::uint64_t every = 0;      ///< steps between cuts; 0: by time only
  std::chrono::milliseconds interval{300'000};  ///< longest time between cuts; 0: by steps only
  retention keep;
  bool at_end = true;
  bool flush = true;
  /// How long to try again where the cut at the end cannot be written, for want of room, say. One during training that
  /// cannot is left to the next.
  std::chrono::milliseconds retry_for{300'000};
};

struct supervision_settings {
  std::uint32_t intensity = 10;
  std::chrono::milliseconds window{60'000};
  std::chrono::milliseconds backoff_first{100};
  std::chrono::milliseconds backoff_max{5'000};
  /// Restarts after failures, in the whole job and whatever the window, that bring no new step: more, and it gives up.
  std::uint32_t fruitless_max = 20;
  /// Longest that a step, an evaluation or a cut may take: then the coordinator fails, naming who was waited for, and
  /// is restarted from the last cut. Longest that a node may take to get ready: then it is refused. 0: for ever.
  std::chrono::milliseconds stall_after{1'800'000};
  /// The same for a step while all whose work it needs are there, and neither an evaluation nor a cut is under way: that
  /// many times as long as steps took of late, and stall_least at least; never beyond stall_after. 0: stall_after only.
  double stall_steps = 20.0;
  std::chrono::milliseconds stall_least{60'000};
  /// Told to stop, for how long beyond two steps' time to wait while nothing is done, before the job gives up and
  /// leaves with the last cut. 0: for ever.
  std::chrono::milliseconds stop_within{10'000};
};

/// By what tensors on a GPU get to GPUs of other nodes.
enum class gpu_link_kind : std::uint8_t {
  nccl,  ///< straight from GPU to GPU where NCCL finds a way, else as `off`; never ran on NCCL itself
  off,   ///< through the hosts' memory
};

/// How a cluster's processes get along. One that dies is noticed at once; `peers` is about those that fall silent.
struct cluster_settings {
  failure_detection peers;
  /// In sync mode: let nodes in that round differently, and give up that who computes does not matter.
  bool mixed_arithmetic = false;
  gpu_link_kind gpu_links = gpu_link_kind::off;
};

/// Fault injection: make actors fail on purpose.
struct chaos_settings {
  enum class fault : std::uint8_t {
    exit,       ///< it ends between two messages; a node is killed, as by SIGKILL
    exception,  ///< one leaves a handler of its
    wedge,      ///< a handler of its never returns
  };
  struct kill {
    std::string actor;       ///< logical name, such as "shard/0", "replica/1", "loader/0", "evaluator", "checkpoint_writer", "coordinator"
    std::uint64_t step = 0;  ///< when the coordinator has seen this step done
    fault how = fault::exit;
  };
  std::vector<kill> kills;
  double probability = 0.0;        ///< of a random kill after each step
  std::uint64_t seed = 1;
  std::uint64_t kills_max = 10;    ///< bound on random kills
  std::vector<std::string> actors; ///< whom random kills choose from; empty: every shard, replica and loader
};

struct job_settings {
  training_settings training;
  optimizer_settings optimizer;
  schedule_settings schedule;
  consistency_settings consistency;
  runtime_settings runtime;
  evaluation_settings evaluation;
  checkpoint_settings checkpoint;
  supervision_settings supervision;
  cluster_settings cluster;
  chaos_settings chaos;

  /// Whether the same run gives the same bits, whoever computes what: all must round alike for that.
  bool repeats_exactly() const noexcept {
    return consistency.mode == consistency_mode::sync && !cluster.mixed_arithmetic;
  }
};

}  // namespace troupe
