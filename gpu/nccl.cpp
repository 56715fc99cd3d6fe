#include "gpu/nccl.hpp"

#include <fmt/format.h>

#include "gpu/run_time_library.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe::gpu {

std::shared_ptr<const nccl> nccl::open() {
  const auto file = run_time_library::file_named("TROUPE_NCCL_LIBRARY", "libnccl.so.2");
  const run_time_library library(file);
  if (!library)
    throw device_error(fmt::format("there is no NCCL: {}\nhelp: install it where the dynamic linker finds it, or name it "
                                   "in TROUPE_NCCL_LIBRARY; cluster.gpu_links = \"off\", the default, does without",
                                   library.fault()));
  const auto found = std::make_shared<nccl>();
  const auto load = [&](auto& function, const char* name) {
    if (!library.find(function, name))
      throw device_error(fmt::format("{} is too old, or no NCCL: it has no {}\nhelp: 2.18 or later is needed", file,
                                     name));
  };
  load(found->get_unique_id, "ncclGetUniqueId");
  load(found->init_rank, "ncclCommInitRankConfig");
  load(found->get_async_error, "ncclCommGetAsyncError");
  load(found->abort, "ncclCommAbort");
  load(found->group_start, "ncclGroupStart");
  load(found->group_end, "ncclGroupEnd");
  load(found->send, "ncclSend");
  load(found->receive, "ncclRecv");
  load(found->get_error_string, "ncclGetErrorString");
  load(found->get_last_error, "ncclGetLastError");
  return found;
}

}  // namespace troupe::gpu
