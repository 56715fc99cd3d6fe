#include "gpu/staging.hpp"

#include <algorithm>
#include <cstring>

#include "gpu/error.hpp"

namespace troupe::gpu {

staging::~staging() {
  for (const slot& each : slots_)
    if (each.free)
      cudaEventDestroy(each.free);
}

void staging::to_device(std::byte* to, const std::byte* from, std::size_t size_bytes, cudaStream_t stream) {
  constexpr auto doing = "copying to the device";
  while (size_bytes > 0) {
    slot& own = slots_[next_];
    next_ = (next_ + 1) % slots_.size();
    if (!own.memory)
      own.memory = memory_.allocate(slot_bytes);
    if (own.free)
      check(cudaEventSynchronize(own.free), device_, doing);
    else
      check(cudaEventCreateWithFlags(&own.free, cudaEventDisableTiming), device_, "creating an event");
    const auto part = std::min(size_bytes, slot_bytes);
    std::memcpy(own.memory->data(), from, part);
    check(cudaMemcpyAsync(to, own.memory->data(), part, cudaMemcpyHostToDevice, stream), device_, doing);
    check(cudaEventRecord(own.free, stream), device_, doing);
    to += part;
    from += part;
    size_bytes -= part;
  }
}

}  // namespace troupe::gpu
