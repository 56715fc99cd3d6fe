#pragma once

#include "runtime/tensor/device.hpp"

namespace troupe::reference {

double activate(activation kind, double x) noexcept;
/// The derivative of `activate`.
double activation_slope(activation kind, double x) noexcept;

}  // namespace troupe::reference
