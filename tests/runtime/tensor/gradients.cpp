// Backward passes of the reference against central differences of its forward passes.

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

#include "kernel_run.hpp"

namespace troupe::tests {

namespace {

constexpr double difference_step = 1e-4;

/// The scalar whose gradient the backward pass computes: outputs times their given gradients.
double weighted_outputs(const kernel_case& k, stream& on) {
  double total = 0;
  for (const written& result : run_forward(k, on)) {
    const argument& out = k.arguments[result.argument];
    for (std::size_t i = 0; i < out.gradient.size(); ++i)
      total += out.gradient[i] * result.values[i];
  }
  return total;
}

/// By the five-point formula: the error is of fourth order in the step.
std::vector<double> numeric_gradient(kernel_case& k, std::size_t index, stream& on) {
  std::vector<double> gradient;
  for (double& value : k.arguments[index].values) {
    const double middle = value;
    const auto at = [&](double steps) {
      value = middle + steps * difference_step;
      return weighted_outputs(k, on);
    };
    gradient.push_back((8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * difference_step));
    value = middle;
  }
  return gradient;
}

}  // namespace

TEST_CASE("the reference's backward passes agree with finite differences") {
  const auto reference = reference_device().make_stream({});
  for_each_case(scale::small, 16, [&](const std::string&, kernel_case k) {
    if (!k.backward)
      return;
    complete(k, *reference);
    for (const written& result : run_backward(k, *reference)) {
      const argument& differentiated = k.arguments[result.argument];
      std::vector<double> expected = numeric_gradient(k, result.argument, *reference);
      if (differentiated.role == role::parameter)
        std::ranges::transform(expected, differentiated.gradient, expected.begin(), std::plus());
      CAPTURE(result.argument);
      CHECK(relative_error(result.values, expected, differentiated.gradient) < 1e-8);
    }
  });
}

}  // namespace troupe::tests
