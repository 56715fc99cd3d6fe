#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "actors/data_loader.hpp"
#include "actors/job_context.hpp"
#include "runtime/tensor/numbers.hpp"

namespace troupe {

/// One lane's trip through the model for one step, over all its micro-batches: the mathematics of a replica without
/// its protocol. Blocks run one at a time so that the caller can serve its mailbox in between.
class lane_pass {
 public:
  lane_pass(job_context_ptr context, std::uint32_t lane);

  /// Starts `step`; parameters are still to come.
  void begin(std::uint64_t step, std::vector<batch> micro_batches);
  /// Hands in values of parameters first .. first + values.size() - 1.
  void supply(std::size_t first, std::span<const tensor> values);
  /// Whether all parameters of the block to run next are there.
  bool ready() const;

  /// What advance() did.
  struct progress {
    bool finished = false;             ///< the step's last block has run backward
    std::size_t gradients_of = 0;      ///< block whose gradients are complete, where has_gradients
    bool has_gradients = false;
  };
  /// Runs the next block, forward or backward. REQUIRES: ready().
  progress advance();

  /// Gives up the gradient of a parameter whose block is complete.
  tensor take_gradient(std::size_t parameter);
  /// Squares of all gradients of the step, by parameter; add each before it is taken. Bounded and async modes only.
  void add_squares(std::size_t parameter);
  numbers squares() const { return squares_; }
  /// Sums over targets, by micro-batch.
  numbers losses() const { return losses_; }
  /// Drops the handles to parameters and gradients, so that their owner may write in place again.
  void release();
  /// Waits until all that was advanced is computed.
  void synchronize() { on_->synchronize(); }

  std::int64_t targets() const noexcept { return targets_; }
  std::int64_t tokens() const noexcept { return tokens_; }

 private:
  void start_micro_batch();

  job_context_ptr context_;
  std::unique_ptr<stream> on_;
  pass pass_;
  std::uint32_t lane_;
  random_key key_;
  std::uint64_t step_ = 0;
  std::vector<batch> micro_batches_;
  std::size_t micro_ = 0;
  std::size_t block_ = 0;
  bool forward_ = true;
  std::vector<std::size_t> missing_;  // by block: parameters still to come
  tensor squares_, losses_;           // float64, of this step alone: who was sent them still holds those before
  std::int64_t targets_ = 0;
  std::int64_t tokens_ = 0;
};

}  // namespace troupe
