#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <map>
#include <optional>

namespace troupe::gpu {

/// Sections of a stream's work as CUDA graphs. What is enqueued in a section is recorded, on a stream of its own, and
/// launched at its end. The graph of a key is made once; when its section comes again, with other tensors or numbers, what
/// is recorded then only changes the arguments of its nodes (cudaGraphExecUpdate), and where it has other nodes, the graph
/// is made anew. Used by one thread at a time.
class section_graphs {
 public:
  explicit section_graphs(int device) noexcept : device_(device) {}
  ~section_graphs();
  section_graphs(const section_graphs&) = delete;
  section_graphs& operator=(const section_graphs&) = delete;

  /// False, and nothing is recorded, when the key comes for the first time: libraries then set themselves up.
  bool begin(std::uint64_t key);
  bool is_recording() const noexcept { return recording_.has_value(); }
  /// Where to enqueue what is recorded.
  cudaStream_t recorder() const noexcept { return recorder_; }
  /// Launches the section on `stream`. REQUIRES: is_recording().
  void launch(cudaStream_t stream);
  /// Forgets what was recorded.
  void abandon() noexcept;

 private:
  int device_;
  cudaStream_t recorder_ = nullptr;  // made when first used
  std::optional<std::uint64_t> recording_;
  std::map<std::uint64_t, cudaGraphExec_t> graphs_;  // null: its key came once
};

}  // namespace troupe::gpu
