#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/tensor/device.hpp"

namespace troupe {

struct batch {
  tensor tokens;   ///< int32[rows, time] for language models; float32[rows, features] for an MLP
  tensor targets;  ///< int32[rows, time] (or [rows]); -1 masks; empty for generation
};

/// Keys and values of the positions seen so far, for generation.
struct key_value_cache {
  std::vector<tensor> keys, values;  ///< by attention layer; made at first use
  std::int64_t capacity = 0;         ///< positions
  std::int64_t position = 0;         ///< positions filled; the model's last block moves it on
};

class model;

/// Parameters as a pass on this stream computes with them: the same handles where they are on its device and of its compute
/// type, else copies; those of another type are made together.
std::vector<tensor> as_computed_with(stream& on, std::span<const tensor> values);

/// One trip of one batch through a model: parameters, gradients, activations. Owned and used by one thread.
class pass {
 public:
  pass(const model& of, stream& on);

  stream& on;
  /// By index in the space, shaped, of the compute type; set by the caller before the block that reads them.
  std::vector<tensor> parameters;
  /// Likewise; blocks add to them. An empty handle stands for zero: the first block that has something to add
  /// allocates it.
  std::vector<tensor> gradients;
  /// By block: keep only the input, run forward again in the backward pass (Chen et al. 2016, arXiv:1604.06174).
  /// Without effect on the last block, whose backward pass follows at once.
  std::vector<bool> recompute;
  bool training = true;  ///< false: no gradients, no dropout, nothing is saved
  key_value_cache* cache = nullptr;

  /// Forgets the batch before and starts another, given in host memory. `key` feeds dropout.
  void begin(batch next, random_key key);

  const batch& input() const noexcept { return input_; }
  random_key key() const noexcept { return key_; }

  // -- for layers ---------------------------------------------------------------

  /// Saves a tensor for the backward pass; a no-op when `keeps()` is false. Layers take back
  /// what they saved in reverse order.
  void save(tensor value);
  tensor restore();
  /// What to add to: the parameter's gradient, zeros where nothing was added yet.
  tensor gradient(std::size_t parameter);
  /// The same for a kernel that can overwrite: memory without meaning where nothing was added yet, and `fresh` says so.
  tensor gradient(std::size_t parameter, bool& fresh);
  /// Whether `save` saves. Where it does not, a layer may overwrite what it would have saved.
  bool keeps() const noexcept { return training && !discards_; }

  // -- results ------------------------------------------------------------------

  /// Sum of the losses; waits for the device. Valid after the last block's forward pass of a batch with targets.
  double loss_sum() const;
  /// Targets that count. Gradients are of the SUM of losses: divide by this.
  std::int64_t target_count() const;
  /// Of the last row of each sequence, [rows, vocabulary]; after a forward pass without targets.
  tensor logits;

  // -- set by the head ----------------------------------------------------------
  tensor losses;  ///< one per target

 private:
  friend class model;
  batch input_;
  tensor host_targets_;
  random_key key_;
  tensor carry_;  // between blocks: the activation going up, then the gradient coming down
  std::vector<tensor> saved_;
  bool discards_ = false;  // the block under way will run again in the backward pass
};

}  // namespace troupe
