#include "gpu/cuda_device.hpp"

#include <mutex>

#include <fmt/format.h>

#include "gpu/cuda_stream.hpp"
#include "gpu/error.hpp"

namespace troupe::gpu {

namespace {

std::string version(int number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); }

}  // namespace

void cuda_device::activate() const { check(cudaSetDevice(index_), index_, "choosing the device"); }

void cuda_device::connect(const cuda_device& from) {
  const std::lock_guard lock(mutex_);
  if (!connected_.insert(from.index_).second)
    return;
  int can = 0;
  check(cudaDeviceCanAccessPeer(&can, index_, from.index_), index_, "asking for a connection between devices");
  if (can == 0)
    return;
  if (const auto status = cudaDeviceEnablePeerAccess(from.index_, 0); status == cudaErrorPeerAccessAlreadyEnabled)
    cudaGetLastError();  // or the next launch would report it
  else
    check(status, index_, "connecting devices");
}

cudaError_t cuda_device::allow_shared(const void* kernel, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  auto& allowed = shared_bytes_[kernel];
  if (bytes <= allowed)
    return cudaSuccess;
  const auto status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (status == cudaSuccess)
    allowed = bytes;
  return status;
}

std::string cuda_device::name() const { return fmt::format("cuda:{}", index_); }

std::unique_ptr<stream> cuda_device::make_stream(const stream_options& options) {
  activate();
  return std::make_unique<cuda_stream>(*this, options.precision, options.graphs);
}

tensor cuda_device::allocate(dtype type, shape extents, const timeline_ptr& who) {
  activate();
  return {memory_.allocate(type, extents, who), 0, type, extents};
}

void cuda_device::trim() {
  activate();
  memory_.trim();
  pinned_.trim();
}

int device_count() {
  int driver = 0, runtime = 0, count = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0)
    throw device_error("this machine has no NVIDIA driver (libcuda.so.1)\nhelp: install it, or train with "
                       "runtime.device = \"cpu\"; in a container, start it with the GPUs made visible");
  const auto status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver)
    throw device_error(fmt::format("the NVIDIA driver is too old: it supports CUDA {}, expected {}\nhelp: update it, or "
                                   "build with an older toolkit",
                                   version(driver), version(runtime)));
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0))
    throw device_error("there is an NVIDIA driver, but no device that this process may use\nhelp: look at `nvidia-smi` "
                       "and CUDA_VISIBLE_DEVICES");
  if (status != cudaSuccess)
    throw device_error(fmt::format("the NVIDIA driver does not start: {} ({})\nhelp: `nvidia-smi` may tell more",
                                   cudaGetErrorString(status), cudaGetErrorName(status)));
  return count;
}

cuda_device& device_at(int index) {
  static std::mutex mutex;
  static auto& devices = *new std::map<int, std::unique_ptr<cuda_device>>;  // outlive every static object
  const std::lock_guard lock(mutex);
  auto& found = devices[index];
  if (!found)
    found = std::make_unique<cuda_device>(index);
  return *found;
}

}  // namespace troupe::gpu
