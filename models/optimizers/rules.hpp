#pragma once

#include <memory>

#include "models/optimizer.hpp"

namespace troupe {

std::unique_ptr<optimizer> make_adamw(const optimizer_settings& settings);
std::unique_ptr<optimizer> make_sgd(const optimizer_settings& settings);
std::unique_ptr<optimizer> make_lion(const optimizer_settings& settings);
std::unique_ptr<optimizer> make_muon(const optimizer_settings& settings);
/// Keeps the state of `rule` in bfloat16.
std::unique_ptr<optimizer> make_narrow(std::unique_ptr<optimizer> rule);

/// Where to write the successor of `current`: into its own memory where nobody else holds it, else aside.
inline tensor writable(stream& on, const tensor& current) {
  return current.unique() ? current : on.allocate(current.type(), current.shape());
}

inline double decay_of(const optimizer_settings& settings, const parameter& which) {
  return which.decays ? settings.weight_decay : 0.0;
}

}  // namespace troupe
