// Whole models on the GPU, held against float64 on the reference device.

#include <doctest/doctest.h>

#include "tests/models/harness.hpp"

using namespace troupe;
using namespace troupe::testing;

TEST_CASE("gradients of whole models in float32 agree with float64 per tensor") { check_gradients(find_device("cuda")); }

TEST_CASE("generation agrees with a cache and without") { check_generation(find_device("cuda")); }
