// The processor's device against the reference, kernel by kernel.

#include <doctest/doctest.h>

#include "kernel_run.hpp"

namespace troupe::tests {

TEST_CASE("the processor's kernels agree with the reference") {
  const auto fast = cpu_device().make_stream({.threads = 2});
  for_each_case(scale::medium, 24, [&](const std::string&, const kernel_case& k) { check_agreement(k, *fast); });
}

TEST_CASE("the loss agrees where there are more logits than are kept at once") {
  const auto fast = cpu_device().make_stream({.threads = 2});
  for_each_seed(3, [&](std::uint64_t seed) {
    dice roll(seed, scale::medium);
    check_agreement(linear_cross_entropy(roll, 4201, 1, 4111), *fast);  // 66 MiB
  });
}

TEST_CASE("exponentials of great scores and logits do not overflow") {
  check_great_scores(*cpu_device().make_stream({}));
}

}  // namespace troupe::tests
