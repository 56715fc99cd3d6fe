#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <map>
#include <optional>

namespace troupe::gpu {

class device_memory;

/// Sections of a stream's work as CUDA graphs. What is enqueued in a section is recorded, on a stream of its own, and
/// launched at its end. The graph of a key is made once; when its section comes again, with other tensors or numbers, what
/// is recorded then only changes the arguments of its nodes (cudaGraphExecUpdate), and where it has other nodes, the graph
/// is made anew. Used by one thread at a time.
class section_graphs {
 public:
  /// `memory`: a cache to give back where there is no memory for a graph.
  section_graphs(int device, device_memory& memory) noexcept : device_(device), memory_(memory) {}
  ~section_graphs() { clear(); }
  section_graphs(const section_graphs&) = delete;
  section_graphs& operator=(const section_graphs&) = delete;

  /// Nothing is recorded when the key comes for the first time: libraries then set themselves up.
  void begin(std::uint64_t key);
  bool is_recording() const noexcept { return recording_.has_value(); }
  /// Where to enqueue what is recorded.
  cudaStream_t recorder() const noexcept { return recorder_; }
  /// Launches the section on `stream`. REQUIRES: is_recording().
  void launch(cudaStream_t stream);
  /// Forgets what was recorded.
  void abandon() noexcept;
  /// Forgets all. REQUIRES: what was launched is over.
  void clear() noexcept;

 private:
  int device_;
  device_memory& memory_;
  cudaStream_t recorder_ = nullptr;  // made when first used
  std::optional<std::uint64_t> recording_;
  std::map<std::uint64_t, cudaGraphExec_t> graphs_;  // null: its key came once
};

}  // namespace troupe::gpu
