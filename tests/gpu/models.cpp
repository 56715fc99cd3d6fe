// Whole models on the GPU, held against float64 on the reference device.

#include <doctest/doctest.h>

#include "tests/models/harness.hpp"

using namespace troupe;
using namespace troupe::testing;

TEST_CASE("gradients of whole models in float32 agree with float64 per tensor") { check_gradients(find_device("cuda")); }

TEST_CASE("gradients of whole models in bfloat16 agree with a reference that rounds where they do") {
  check_gradients(find_device("cuda"), precision_kind::bfloat16);
}

TEST_CASE("generation agrees with a cache and without") {
  for (const auto precision : {precision_kind::float32, precision_kind::bfloat16})
    check_generation(find_device("cuda"), precision);
}
