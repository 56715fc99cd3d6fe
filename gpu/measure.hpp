#pragma once

#include "gpu/cuda_device.hpp"
#include "runtime/tensor/device_module.hpp"

namespace troupe::gpu {

device_facts facts_of(cuda_device& device);
std::string arithmetic_of(cuda_device& device);
std::string attention_of(cuda_device& device);

/// Takes a fraction of a second and about a gigabyte of the device's memory, less where there is less.
device_rates measure(cuda_device& device);

}  // namespace troupe::gpu
