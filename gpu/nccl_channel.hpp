#pragma once

#include <memory>

#include "gpu/endings.hpp"
#include "gpu/nccl.hpp"
#include "runtime/tensor/device_channel.hpp"

namespace troupe::gpu {

class cuda_device;

/// Channels by NCCL: each is a communicator of two ranks, of which the first only sends and the second only receives.
/// So there is no order of calls that two ends could disagree about, and nobody's sum depends on who is where.
class nccl_channel_maker final : public channel_maker {
 public:
  /// Throws device_error where there is no NCCL.
  explicit nccl_channel_maker(cuda_device& on) : on_(on), library_(nccl::open()) {}

  std::string gpu() const override;
  std::string advice() const override;
  channel_id draw_id() override;
  std::unique_ptr<device_channel> open(const channel_id& id, channel_end end) override;

 private:
  cuda_device& on_;
  std::shared_ptr<const nccl> library_;
  std::shared_ptr<endings> endings_ = std::make_shared<endings>();  // of its channels
};

}  // namespace troupe::gpu
