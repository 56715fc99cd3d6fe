#include "gpu/section_graphs.hpp"

#include <utility>

#include "gpu/error.hpp"
#include "gpu/memory.hpp"

namespace troupe::gpu {

void section_graphs::begin(std::uint64_t key) {
  if (graphs_.try_emplace(key, nullptr).second)
    return;
  constexpr auto doing = "recording a section";
  if (!recorder_)
    check(cudaStreamCreateWithFlags(&recorder_, cudaStreamNonBlocking), device_, doing);
  // Relaxed: neither this thread nor another is kept from allocating meanwhile.
  check(cudaStreamBeginCapture(recorder_, cudaStreamCaptureModeRelaxed), device_, doing);
  recording_ = key;
}

void section_graphs::launch(cudaStream_t stream) {
  constexpr auto doing = "launching a section";
  auto& graph = graphs_[*recording_];
  recording_.reset();
  cudaGraph_t recorded = nullptr;
  check(cudaStreamEndCapture(recorder_, &recorded), device_, doing);
  if (graph) {
    cudaGraphExecUpdateResultInfo result{};
    if (cudaGraphExecUpdate(graph, recorded, &result) != cudaSuccess) {
      cudaGetLastError();  // or the next launch would report it
      cudaGraphExecDestroy(graph);
      graph = nullptr;
    }
  }
  auto made = graph ? cudaSuccess : cudaGraphInstantiate(&graph, recorded, 0);
  if (made == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    memory_.trim();
    made = cudaGraphInstantiate(&graph, recorded, 0);
  }
  cudaGraphDestroy(recorded);
  check(made, device_, doing);
  check(cudaGraphLaunch(graph, stream), device_, doing);
}

void section_graphs::abandon() noexcept {
  if (!recording_)
    return;
  recording_.reset();
  cudaGraph_t recorded = nullptr;
  if (cudaStreamEndCapture(recorder_, &recorded) == cudaSuccess)
    cudaGraphDestroy(recorded);
}

void section_graphs::clear() noexcept {
  abandon();
  for (const auto& [key, graph] : graphs_)
    if (graph)
      cudaGraphExecDestroy(graph);
  graphs_.clear();
  if (recorder_)
    cudaStreamDestroy(std::exchange(recorder_, nullptr));
}

}  // namespace troupe::gpu
