// Ranges as NVTX has them. Its functions do nothing unless a profiler has brought an implementation.

#include <nvtx3/nvToolsExt.h>

#include "gpu/cuda_device.hpp"

namespace troupe::gpu {

namespace {

/// Null where no profiler listens.
nvtxDomainHandle_t domain() noexcept {
  static const nvtxDomainHandle_t only = nvtxDomainCreateA("troupe");
  return only;
}

}  // namespace

bool cuda_device::is_profiled() const noexcept { return domain() != nullptr; }

void cuda_device::push_range(const std::string& name) {
  nvtxEventAttributes_t range{};
  range.version = NVTX_VERSION;
  range.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  range.messageType = NVTX_MESSAGE_TYPE_ASCII;
  range.message.ascii = name.c_str();
  nvtxDomainRangePushEx(domain(), &range);
}

void cuda_device::pop_range() noexcept { nvtxDomainRangePop(domain()); }

}  // namespace troupe::gpu
