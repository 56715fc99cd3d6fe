#include <nvtx3/nvToolsExt.h>

#include <cstdio>

#include "blocks.hpp"
#include "machine.hpp"

using troupe::emulator::die;

namespace {

thread_local int depth = 0;

}  // namespace

nvtxDomainHandle_t nvtxDomainCreateA(const char* name) {
  static int made;
  if (!troupe::emulator::machine::is_told("profiler"))
    return nullptr;
  std::fprintf(stderr, "profiler: domain %s\n", name);
  return reinterpret_cast<nvtxDomainHandle_t>(&made);
}

/// Prints the range.
int nvtxDomainRangePushEx(nvtxDomainHandle_t domain, const nvtxEventAttributes_t* range) {
  if (!domain || range->version != NVTX_VERSION || range->size != sizeof *range ||
      range->messageType != NVTX_MESSAGE_TYPE_ASCII)
    die("a range that NVTX would not take");
  std::fprintf(stderr, "profiler: %s\n", range->message.ascii);
  return depth++;
}

int nvtxDomainRangePop(nvtxDomainHandle_t) {
  if (depth == 0)
    die("a range ends that did not begin");
  return --depth;
}
