#pragma once

/// What tests of whole models share: parameters at random values, batches of random tokens, and the bare loop.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "models/transformer.hpp"

namespace troupe::testing {

/// A small GPT-2 or Llama: awkward extents, and weights far enough from zero that every path matters.
transformer_settings tiny_gpt2();
transformer_settings tiny_llama();

/// Copies between host vectors and tensors of any floating-point type.
tensor to_tensor(stream& on, const std::vector<double>& values, shape extents);
std::vector<double> to_doubles(stream& on, const tensor& values);

/// Random tokens; every fifth target is masked where `masked`.
batch random_batch(std::int64_t rows, std::int64_t time, std::int64_t vocabulary, std::uint64_t seed,
                   bool masked = false);

/// A model with its own stream, parameters (initial values plus noise, so that biases and gains matter) and gradients.
class rig {
 public:
  rig(const model& of, device& on, std::uint64_t seed, const stream_options& options = {});

  const model& of;
  std::unique_ptr<stream> on;
  pass p;

  void zero_gradients();
  /// Forward pass of all blocks; returns the sum of losses.
  double forward(const batch& input, random_key key = {});
  /// Backward pass of all blocks; adds to the gradients.
  void backward();
  /// zero_gradients, forward, backward; returns the sum of losses.
  double step(const batch& input, random_key key = {});

  std::vector<double> gradient(std::size_t index) const { return to_doubles(*on, p.gradients[index]); }
};

/// |a - b| / |b|, or |a| where b is zero.
double relative_error(const std::vector<double>& a, const std::vector<double>& b);
double cosine(const std::vector<double>& a, const std::vector<double>& b);

/// Whole steps of small models on `fast` agree, per tensor, with float64 on the reference device, which rounds where
/// passes in bfloat16 do.
void check_gradients(device& fast, precision_kind precision = precision_kind::float32);
/// A decoder's last logits agree with those of a forward pass over the whole text.
void check_generation(device& on, precision_kind precision = precision_kind::float32);

}  // namespace troupe::testing
