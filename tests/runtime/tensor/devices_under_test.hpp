#pragma once

#include <vector>

#include "runtime/tensor/device.hpp"

namespace troupe::tests {

/// What tests for all devices run on: here those of the processor, in tests/gpu the GPU.
std::vector<device*> devices_under_test();

}  // namespace troupe::tests
