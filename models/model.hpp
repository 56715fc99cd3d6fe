#pragma once

/// A model is a row of blocks over one flat parameter space. Whoever trains it
/// (a replica, a test, a ten-line loop) calls the blocks one by one:
///
///     pass p(model, stream, options);
///     p.parameters[i] = ...; p.gradients[i] = zeros ...     // by index in the space
///     p.begin(batch, key);
///     for (b = 0; b < model.block_count(); ++b) model.forward(b, p);
///     for (b = model.block_count(); b-- > 0;) model.backward(b, p);   // block b's gradients are complete
///
/// so that waiting for parameters, sending gradients, accumulation, pipelining and activation
/// checkpointing are decisions of the caller.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tensor/device.hpp"

namespace troupe {

/// How a parameter starts. Values are drawn by Philox from (seed, parameter name): the same
/// whatever the sharding, device or number of threads.
struct initializer {
  enum class kind : std::uint8_t { zeros, ones, normal, uniform };
  kind distribution = kind::zeros;
  double scale = 0.0;  ///< standard deviation, or half-width of the uniform
};

/// A named tensor in the flat parameter space.
struct parameter {
  std::string name;         ///< unique, such as "blocks.3.attention.qkv.weight"
  troupe::shape extents;
  std::int64_t offset = 0;  ///< first element in the space
  std::size_t block = 0;    ///< the block that owns it; its gradient is complete after that block's backward pass
  initializer start;
  bool decays = false;      ///< weight decay applies (matrices, as a rule)

  std::int64_t count() const noexcept { return extents.count(); }
};

/// The flat parameter space: parameters in order of block, without gaps.
class parameter_space {
 public:
  /// Appends a parameter of the block under construction; returns its index.
  std::size_t add(std::string name, troupe::shape extents, initializer start, bool decays);
  /// Parameters added from here on belong to the next block.
  void next_block() noexcept { ++block_; }

  std::size_t size() const noexcept { return parameters_.size(); }
  const parameter& operator[](std::size_t index) const noexcept { return parameters_[index]; }
  auto begin() const noexcept { return parameters_.begin(); }
  auto end() const noexcept { return parameters_.end(); }
  /// Elements of all parameters.
  std::int64_t count() const noexcept { return count_; }
  /// Index by name; `size()` where there is none such.
  std::size_t find(std::string_view name) const noexcept;

 private:
  std::vector<parameter> parameters_;
  std::int64_t count_ = 0;
  std::size_t block_ = 0;
};

/// Writes the parameter's initial values (float32, host) to `out`.
void initialize(const parameter& which, std::uint64_t seed, std::span<float> out);

struct batch {
  tensor tokens;   ///< int32[rows, time] for language models; float32[rows, features] for an MLP
  tensor targets;  ///< int32[rows, time] (or [rows]); -1 masks; empty for generation
};

/// Keys and values of the positions seen so far, for generation.
struct key_value_cache {
  std::vector<tensor> keys, values;  ///< by attention layer; made at first use
  std::int64_t capacity = 0;         ///< positions
  std::int64_t position = 0;         ///< positions filled
};

class model;

/// One trip of one batch through a model: parameters, gradients, activations. Owned and used by one thread.
class pass {
 public:
  pass(const model& of, stream& on);

  stream& on;
  std::vector<tensor> parameters;  ///< by index in the space, shaped; set by the caller before the block that reads them
  std::vector<tensor> gradients;   ///< likewise; blocks add to them
  std::vector<bool> recompute;     ///< by block: keep only the input, run forward again in the backward pass
  bool training = true;            ///< false: no gradients, no dropout, nothing is saved
  key_value_cache* cache = nullptr;

  /// Forgets the batch before and starts another. `key` feeds dropout.
  void begin(batch next, random_key key);

  const batch& input() const noexcept { return input_; }
  random_key key() const noexcept { return key_; }

  // -- for layers ---------------------------------------------------------------

  /// Saves a tensor for the backward pass; a no-op when not training. Layers take back
  /// what they saved in reverse order.
  void save(tensor value);
  tensor restore();

  // -- results ------------------------------------------------------------------

  /// Sum of the losses and number of targets that count; waits for the device. Valid after the last block's
  /// forward pass of a batch with targets. Gradients are of the SUM: divide by the count.
  double loss_sum() const;
  std::int64_t target_count() const;
  /// Of the last row of each sequence, [rows, vocabulary]; after a forward pass without targets.
  tensor logits;

  // -- set by the head ----------------------------------------------------------
  tensor losses;  ///< one per target

 private:
  friend class model;
  batch input_;
  random_key key_;
  tensor carry_;  // between blocks: the activation going up, then the gradient coming down
  std::vector<tensor> saved_;
};

/// A piece of a model with explicit passes. Layers are immutable after `declare`: all state is in the pass.
class layer {
 public:
  virtual ~layer() = default;
  /// Adds the layer's parameters to the space under names that begin with `prefix`, and remembers their indices.
  virtual void declare(parameter_space& space, const std::string& prefix) = 0;
  virtual tensor forward(pass& p, const tensor& x) const = 0;
  /// Adds to the parameters' gradients; returns the gradient of x (empty where x is the input).
  virtual tensor backward(pass& p, const tensor& dy) const = 0;
};

/// A row of named layers, each a block.
class model {
 public:
  struct named_layer {
    std::string name;
    std::unique_ptr<layer> body;
  };
  explicit model(std::vector<named_layer> blocks);

  const parameter_space& parameters() const noexcept { return space_; }
  std::size_t block_count() const noexcept { return blocks_.size(); }
  const std::string& block_name(std::size_t block) const noexcept { return blocks_[block].name; }

  /// REQUIRES: blocks 0 .. block - 1 have run on this batch.
  void forward(std::size_t block, pass& p) const;
  /// REQUIRES: all blocks ran forward and blocks block + 1 .. have run backward.
  void backward(std::size_t block, pass& p) const;

 private:
  std::vector<named_layer> blocks_;
  parameter_space space_;
};

}  // namespace troupe
