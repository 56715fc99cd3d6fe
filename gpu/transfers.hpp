#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "gpu/cuda_stream.hpp"
#include "gpu/host_event.hpp"
#include "runtime/tensor/device_channel.hpp"

namespace troupe::gpu {

/// Tensors on their way to another process, or from it.
struct transfer {
  transfer(int device, std::vector<tensor> tensors);

  std::vector<tensor> tensors;
  const std::size_t bytes;
  std::uint64_t prepared = 0;  // the operation of this process that it comes behind
  bool enqueued = false;
  host_event over;  // once it is enqueued
};

/// The transfers of one end of a channel: the stream on which they wait for another process, and the memory that they
/// have meanwhile.
///
/// **Nothing that this process computes waits for them on the device**, or GPUs of two nodes could wait for each other in
/// a circle. What leaves is a copy, which waits for this process only. The stream has no timeline, so that no block of
/// memory leads to it, and memory is given back when the host has seen that its transfer is over.
///
/// Used by one thread at a time, unless stated otherwise.
class transfers {
 public:
  explicit transfers(cuda_device& on);
  ~transfers();
  transfers(const transfers&) = delete;
  transfers& operator=(const transfers&) = delete;

  /// Where they are to be enqueued.
  cudaStream_t stream() const noexcept { return stream_; }

  tensor allocate(const tensor_form& what) { return near_.allocate(what.type, what.extents); }
  /// A copy of a tensor of any device, for a transfer alone.
  tensor copy(const tensor& from);

  /// What is enqueued from now on may read these tensors, or write them: it comes behind whoever does so in this process.
  std::shared_ptr<transfer> begin(std::vector<tensor> tensors, bool writes);
  /// The last one was enqueued. Until it is, its memory is kept.
  void enqueued(transfer& last);
  /// The host has waited for it. Any thread may say so.
  void passed(const transfer& which) noexcept { near_.order().passed(which.prepared); }

  /// Gives back the memory of those that are over.
  void sweep();
  /// Of those that may not be over.
  std::size_t bytes() const noexcept { return bytes_; }

  /// Waits on the host for all, and gives back their memory. REQUIRES: nobody waits for the other process any more.
  void finish() noexcept;

 private:
  cuda_device& on_;
  cuda_stream near_;
  host_event prepared_;
  cudaStream_t stream_ = nullptr;
  std::deque<std::shared_ptr<transfer>> under_way_;
  std::size_t bytes_ = 0;
};

}  // namespace troupe::gpu
