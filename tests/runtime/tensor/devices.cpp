// The processor's device against the reference, kernel by kernel.

#include <doctest/doctest.h>

#include "kernel_run.hpp"

namespace troupe::tests {

namespace {

void check_same(const kernel_case& k, const std::vector<written>& actual, const std::vector<written>& expected,
                bool backward) {
  REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const argument& arg = k.arguments[actual[i].argument];
    const std::vector<double> none;
    const std::vector<double>& before = backward && arg.role == role::parameter ? arg.gradient : none;
    CAPTURE(backward);
    CAPTURE(actual[i].argument);
    CAPTURE(to_string(arg.extents));
    CHECK(relative_error(actual[i].values, expected[i].values, before) < arg.tolerance);
  }
}

void check_agreement(kernel_case k) {
  const auto fast = cpu_device().make_stream({.threads = 2});
  const auto reference = reference_device().make_stream({});
  check_same(k, run_forward(k, *fast), run_forward(k, *reference), false);
  if (!k.backward)
    return;
  complete(k, fast->compute_type());
  check_same(k, run_backward(k, *fast), run_backward(k, *reference), true);
}

}  // namespace

TEST_CASE("the processor's kernels agree with the reference") {
  for_each_case(scale::medium, 24, [](const std::string&, const kernel_case& k) { check_agreement(k); });
}

TEST_CASE("the loss agrees where there are more logits than are kept at once") {
  for_each_seed(3, [](std::uint64_t seed) {
    dice roll(seed, scale::medium);
    check_agreement(linear_cross_entropy(roll, 4201, 1, 4111));  // 66 MiB
  });
}

TEST_CASE("exponentials of great scores and logits do not overflow") {
  for_each_case(scale::medium, 4, [](const std::string& name, kernel_case k) {
    if (name != "attention" && name != "attention_cached" && name != "linear_cross_entropy")
      return;
    for (double& value : k.arguments.front().values)
      value *= 100;
    for (argument& arg : k.arguments)
      arg.tolerance = 1e-2;  // the scores' rounding errors are magnified as they are
    check_same(k, run_forward(k, *cpu_device().make_stream({})), run_forward(k, *reference_device().make_stream({})),
               false);
  });
}

}  // namespace troupe::tests
