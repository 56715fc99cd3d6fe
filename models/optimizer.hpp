#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "models/model.hpp"

namespace troupe {

struct optimizer_settings {
  enum class kind : std::uint8_t { adamw, sgd, lion, muon };
  kind algorithm = kind::adamw;
  double learning_rate = 1e-3;  ///< the schedule's peak
  double beta1 = 0.9;           ///< adamw, lion; muon's adamw
  double beta2 = 0.999;         ///< likewise
  double epsilon = 1e-8;        ///< adamw; muon's adamw
  double momentum = 0.0;        ///< sgd; muon uses 0.95 where 0 stands
  bool nesterov = false;        ///< sgd, muon (whose authors recommend it)
  double weight_decay = 0.0;    ///< on parameters that decay (matrices)
  /// Of moments and momentum between updates: bfloat16 takes half the memory and is rounded to stochastically, since
  /// what a step adds is often less than its spacing (Zamirai et al. 2020, arXiv:2010.06192).
  enum class state_kind : std::uint8_t { float32, bfloat16 };
  state_kind state_type = state_kind::float32;
};

/// What one update needs besides the tensors.
struct update_options {
  double learning_rate = 0.0;
  scalar gradient_scale = 1.0;
  std::int64_t step = 1;  ///< 1 for the first update
  random_key key = {};    ///< of this parameter and step; for stochastic rounding
};

/// One of the parameters that are updated together: see `optimizer::update`.
struct parameter_update {
  const parameter& which;
  const tensor& gradient;
  tensor& value;
  std::span<tensor> state;
  random_key key = {};  ///< instead of that of the options
};

/// An update rule. It holds no state: the tensors it keeps for each parameter belong to the shard.
class optimizer {
 public:
  virtual ~optimizer() = default;

  /// Names of the state tensors of this parameter, such as {"exp_avg", "exp_avg_sq"}: each has the
  /// parameter's shape, is of state_type() and starts at zero.
  virtual std::vector<std::string> state_names(const parameter& which) const = 0;
  virtual dtype state_type(const stream& on) const { return on.accumulation_type(); }

  /// One update. `value`, `state` hold the current tensors; on return they hold the new ones: the same
  /// memory where the handle is unique, else fresh memory from the stream's device, so that whoever
  /// still holds the old handles keeps reading the old values.
  virtual void update(stream& on, const parameter& which, const update_options& options, const tensor& gradient,
                      tensor& value, std::span<tensor> state) const = 0;
  /// The same for each of them: one by one, unless a rule knows how to spare a device that.
  virtual void update_all(stream& on, const update_options& options, std::span<const parameter_update> all) const;
};

/// Throws std::invalid_argument naming the setting that is impossible.
std::unique_ptr<optimizer> make_optimizer(const optimizer_settings& settings);

}  // namespace troupe
