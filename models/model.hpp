#pragma once

/// A model is a row of blocks over one flat parameter space. Whoever trains it
/// (a replica, a test, a ten-line loop) calls the blocks one by one:
///
///     pass p(model, stream);
///     p.parameters[i] = ...; p.gradients[i] = {};     // by index in the space; blocks fill in the gradients
///     p.begin(batch, key);
///     for (b = 0; b < model.block_count(); ++b) model.forward(b, p);
///     for (b = model.block_count(); b-- > 0;) model.backward(b, p);   // block b's gradients are complete
///
/// so that waiting for parameters, sending gradients, accumulation, pipelining and activation
/// checkpointing are decisions of the caller.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/parameters.hpp"
#include "models/pass.hpp"

namespace troupe {

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

/// A row of named layers, each a block. Immutable; thread safe.
class model {
 public:
  struct named_layer {
    std::string name;
    std::unique_ptr<layer> body;
  };
  /// The first block gets an empty tensor and reads the pass's input; the last one returns an empty tensor
  /// and leaves losses or logits in the pass.
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

/// By block, whether `ranges` names it: "none", "all", or ranges such as "0-3,7" that count the blocks named
/// "blocks.0", "blocks.1" and so on. For `pass::recompute`. Throws input_error.
std::vector<bool> parse_recompute(const model& of, std::string_view ranges);

}  // namespace troupe
