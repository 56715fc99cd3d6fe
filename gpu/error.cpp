#include "gpu/error.hpp"

#include <fmt/format.h>

namespace troupe::gpu {

namespace {

/// Whether the device is lost to this process.
bool is_sticky(cudaError_t status) noexcept {
  switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorIllegalInstruction:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorHardwareStackError:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::string advice(cudaError_t status) {
  switch (status) {
    case cudaErrorMemoryAllocation:
      return "lower training.batch, or raise training.accumulation or training.recompute; `nvidia-smi` shows who else "
             "uses the device";
    case cudaErrorNoKernelImageForDevice:
      return "this build holds no code for the device: it needs compute capability 8.0 or higher";
    case cudaErrorECCUncorrectable:
      return "the device's memory is at fault: use another one, and have it looked at";
    case cudaErrorDevicesUnavailable:
      return "another process has the device to itself; `nvidia-smi -q -d COMPUTE` shows its compute mode";
    case cudaErrorInsufficientDriver:
      return "update the NVIDIA driver to one that supports this toolkit";
    default:
      return is_sticky(status) ? "the device is lost to this process: start it anew, --resume goes on from the last cut; "
                                 "with CUDA_LAUNCH_BLOCKING=1 the error names the kernel at fault"
                               : "";
  }
}

void check(cudaError_t status, int device, const std::string& label) {
  if (status == cudaSuccess)
    return;
  auto message = fmt::format("cuda:{}: {}: {} ({})", device, label, cudaGetErrorString(status), cudaGetErrorName(status));
  if (const auto help = advice(status); !help.empty())
    message += "\nhelp: " + help;
  if (is_sticky(status))
    throw device_lost(message);
  throw device_error(message);
}

}  // namespace troupe::gpu
