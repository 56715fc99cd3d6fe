#pragma once

#include <cuda_runtime.h>

#include "gpu/error.hpp"

namespace troupe::gpu {

/// A point of a stream that the host waits for without spinning, and other streams on the device.
class host_event {
 public:
  explicit host_event(int device) : device_(device) {
    check(cudaEventCreateWithFlags(&handle_, cudaEventDisableTiming | cudaEventBlockingSync), device_,
          "creating an event");
  }
  ~host_event() { cudaEventDestroy(handle_); }
  host_event(const host_event&) = delete;
  host_event& operator=(const host_event&) = delete;

  /// Behind everything that is enqueued there.
  void record(cudaStream_t stream) { check(cudaEventRecord(handle_, stream), device_, "recording an event"); }
  /// What is enqueued there from now on comes behind this point.
  void hold_back(cudaStream_t stream) const {
    check(cudaStreamWaitEvent(stream, handle_, 0), device_, "waiting for an event");
  }
  bool is_reached() const {
    const auto status = cudaEventQuery(handle_);
    if (status == cudaErrorNotReady)
      return false;
    check(status, device_, "asking for an event");
    return true;
  }
  void wait() const { check(cudaEventSynchronize(handle_), device_, "waiting for tensors from another node"); }

 private:
  int device_;
  cudaEvent_t handle_ = nullptr;
};

}  // namespace troupe::gpu
