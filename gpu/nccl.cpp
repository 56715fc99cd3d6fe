#include "gpu/nccl.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <type_traits>

#include <fmt/format.h>

#include "runtime/tensor/device.hpp"

namespace troupe::gpu {

std::shared_ptr<const nccl> nccl::open() {
  const char* const chosen = std::getenv("TROUPE_NCCL_LIBRARY");
  const char* const file = chosen && *chosen ? chosen : "libnccl.so.2";
  void* const library = dlopen(file, RTLD_NOW | RTLD_LOCAL);  // stays: it keeps threads
  if (!library)
    throw device_error(fmt::format("there is no NCCL: {}\nhelp: install it where the dynamic linker finds it, or name it "
                                   "in TROUPE_NCCL_LIBRARY; cluster.gpu_links = \"off\", the default, does without",
                                   dlerror()));
  const auto found = std::make_shared<nccl>();
  const auto load = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    if (!function)
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
