#pragma once

#include <cuda_runtime.h>

#include <string>

#include "runtime/tensor/device.hpp"

namespace troupe::gpu {

/// Throws device_error unless `status` is success: "cuda:0: LABEL: what CUDA says (its name)", and what to do about it.
/// Most faults of kernels are found by a later call, since work is asynchronous, and are sticky, which is device_lost:
/// every call fails from then on, and so does every actor on the device until the process ends.
void check(cudaError_t status, int device, const std::string& label);

/// What to do about it; empty where nobody knows.
std::string advice(cudaError_t status);

}  // namespace troupe::gpu
