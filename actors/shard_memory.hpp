#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "actors/job_context.hpp"
#include "actors/replicated_state.hpp"
#include "actors/shard_origin.hpp"

namespace troupe {

/// The tensors of one shard: parameter values and optimizer state. Owned by one actor; no protocol.
class shard_memory {
 public:
  shard_memory(job_context_ptr context, std::uint32_t index);

  /// Initial values drawn from the job's seed; optimizer state of zeros.
  void initialize();
  /// By name; a cut of step 0, such as an imported model's, need
  /// not hold optimizer state. Throws input_error where a tensor is missing or has another shape.
  void restore(const shard_origin& from);

  std::size_t first() const noexcept { return first_; }
  std::size_t size() const noexcept { return values_.size(); }
  /// Current values, by index in the space less first().
  std::span<const tensor> values() const noexcept { return values_; }

  /// The same elements where this shard computes, as `update` and what follows want gradients.
  tensor here(const tensor& from) { return on_->to_device(from); }
  /// What clips a gradient of these squares (by parameter of the whole space, in its order), which is still to be scaled.
  /// Waits for no device.
  update_factors clip(std::span<const numbers> squares, double scale, double learning_rate);
  /// Optimizer step number `step`, from 1, over the whole shard. What somebody else holds is not touched: its successor is
  /// written aside.
  void update(std::span<const tensor> gradients, const update_factors& factors, std::uint64_t step);
  /// Brings them to the host: waits for what this shard's device was given before.
  void settle(std::span<numbers* const> all) { numbers::settle(*on_, all); }
  /// Adds the delay compensation of arXiv:1609.08326 to the scaled gradients, in place.
  void compensate_delay(std::span<const tensor> gradients, std::span<const tensor> read, const update_factors& factors);
  /// Its state, adaptive delay compensation only; otherwise empty, and set to nothing.
  std::span<const tensor> mean_squares() const noexcept { return mean_squares_; }
  void set_mean_squares(std::span<const tensor> values);
  /// Sums lanes[0][i] + lanes[1][i] + ... into lanes[0][i], in lane order; returns the squares of the sums by parameter.
  numbers sum_lanes(std::span<const std::vector<tensor>> lanes);

  /// Handles to everything, named: what a checkpoint holds.
  std::vector<named_tensor> snapshot();

 private:
  scalar gradient_scale(const update_factors& factors);
  const parameter& at(std::size_t i) const noexcept { return context_->model().parameters()[first_ + i]; }
  tensor zeros(const parameter& which, dtype type);
  /// Takes what an update will write to while a cut or an evaluation holds the old values. Memory that the system gives
  /// for the first time would cost that update, for which training waits, half a step.
  void reserve_copies();

  job_context_ptr context_;
  std::uint32_t index_;
  std::size_t first_;
  std::unique_ptr<stream> on_;
  dtype type_;  // of parameters: float32, or float64 on the reference device
  std::unique_ptr<optimizer> rule_;
  std::vector<tensor> values_;
  std::vector<std::vector<tensor>> state_;  // by parameter, in the order of optimizer::state_names
  std::vector<tensor> mean_squares_;        // adaptive delay compensation only
  std::optional<std::vector<tensor>> reserved_;  // by the first update; held until one writes aside
};

}  // namespace troupe
