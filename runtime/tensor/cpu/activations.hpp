#pragma once

#include <utility>

#include "runtime/tensor/cpu/math.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe::cpu {

/// Each nonlinearity as a type with its value and its derivative, so that loops are compiled once for each.

struct relu {
  static floats value(floats x) noexcept { return x < 0.0f ? floats{} : x; }
  static floats slope(floats x) noexcept { return x > 0.0f ? broadcast(1.0f) : floats{}; }
};

struct gelu {
  static floats value(floats x) noexcept { return x * normal_at(x).cumulative; }
  static floats slope(floats x) noexcept {
    const normal at = normal_at(x);
    return x * at.density + at.cumulative;
  }
};

/// x (1 + tanh u) / 2 = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3).
struct gelu_tanh {
  static constexpr float twice = 1.59576912160573071f;  // 2 sqrt(2 / pi)
  static constexpr float cubic = 0.044715f;

  static floats value(floats x) noexcept { return x * sigmoid(twice * x * (x * x * cubic + 1.0f)); }
  static floats slope(floats x) noexcept {
    const floats square = x * x;
    const floats s = sigmoid(twice * x * (square * cubic + 1.0f));
    return s + s * (1.0f - s) * (twice * x * (square * (3.0f * cubic) + 1.0f));
  }
};

struct silu {
  static floats value(floats x) noexcept { return x * sigmoid(x); }
  static floats slope(floats x) noexcept {
    const floats s = sigmoid(x);
    return s + x * s * (1.0f - s);
  }
};

/// Calls body(function{}) with the type that `kind` names.
template <class Body>
void with_activation(activation kind, Body&& body) {
  switch (kind) {
    case activation::relu:
      return body(relu{});
    case activation::gelu:
      return body(gelu{});
    case activation::gelu_tanh:
      return body(gelu_tanh{});
    case activation::silu:
      return body(silu{});
  }
}

}  // namespace troupe::cpu
