// The CUDA runtime's functions, on the machine.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "blocks.hpp"
#include "machine.hpp"

using troupe::emulator::die;
using troupe::emulator::machine;
using troupe::emulator::node;
using troupe::emulator::point;

namespace {

machine& the() { return machine::the(); }

thread_local int current_device = 0;

constexpr std::size_t shared_bytes_unasked = 48 << 10;
constexpr std::size_t shared_bytes_max = 163 << 10;  // of compute capability 8.0

std::map<const void*, std::size_t>& shared_limits() {
  static auto& limits = *new std::map<const void*, std::size_t>;
  return limits;
}

/// As many of the errors as tests meet.
struct description {
  const char *name, *text;
};
description describe(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return {"cudaSuccess", "no error"};
    case cudaErrorMemoryAllocation: return {"cudaErrorMemoryAllocation", "out of memory"};
    case cudaErrorIllegalAddress: return {"cudaErrorIllegalAddress", "an illegal memory access was encountered"};
    case cudaErrorInsufficientDriver:
      return {"cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version"};
    case cudaErrorNoDevice: return {"cudaErrorNoDevice", "no CUDA-capable device is detected"};
    default: return {"cudaErrorUnknown", "unknown error"};
  }
}

}  // namespace

const char* cudaGetErrorName(cudaError_t error) { return describe(error).name; }
const char* cudaGetErrorString(cudaError_t error) { return describe(error).text; }

cudaError_t cudaGetLastError() {
  const std::lock_guard lock(the().mutex);
  return std::exchange(the().last, the().sticky);
}

// -- devices -----------------------------------------------------------------------

cudaError_t cudaDriverGetVersion(int* version) {
  *version = machine::is_told("no-driver") ? 0 : machine::is_told("old-driver") ? 11040 : 13000;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  if (machine::is_told("old-driver") || machine::is_told("no-driver"))
    return cudaErrorInsufficientDriver;
  if (machine::is_told("no-device"))
    return cudaErrorNoDevice;
  *count = machine::devices();
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= machine::devices_max)
    return cudaErrorInvalidValue;
  current_device = device;
  return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  *can = device != peer;
  return cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned) {
  static bool enabled[machine::devices_max];
  const std::lock_guard lock(the().mutex);
  if (peer == current_device)
    die("a device is its own peer");
  return the().result(std::exchange(enabled[current_device], true) ? cudaErrorPeerAccessAlreadyEnabled : cudaSuccess);
}

cudaError_t cudaDeviceSynchronize() {
  const std::lock_guard lock(the().mutex);
  if (std::ranges::any_of(the().streams, [](const emulated_stream* each) { return each->recorded.has_value(); }))
    die("waiting for a device while a stream is being recorded");
  the().drain(current_device);
  return the().result(cudaSuccess);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const bool other = machine::is_told("other-kind") || (device > 0 && machine::is_told("unlike"));
  std::strcpy(properties->name, other ? "other emulated GPU" : "emulated GPU");
  properties->major = 8;
  properties->minor = 0;
  properties->multiProcessorCount = 1;
  std::memset(&properties->uuid, 0, sizeof properties->uuid);
  const pid_t own = machine::is_told("shared-gpu") ? 0 : getpid();  // each process has a GPU of its own
  std::memcpy(&properties->uuid, &own, sizeof own);
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* address, int length, int) {
  std::snprintf(address, static_cast<std::size_t>(length), "00000000:00:00.0");
  return cudaSuccess;
}

// -- memory -----------------------------------------------------------------------

cudaError_t cudaMalloc(void** address, std::size_t size) {
  const std::lock_guard lock(the().mutex);
  *address = the().allocate(current_device, size);
  return the().result(*address ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void* address) {
  const std::lock_guard lock(the().mutex);
  the().free(static_cast<std::byte*>(address));
  return the().result(cudaSuccess);
}

cudaError_t cudaHostAlloc(void** address, std::size_t size, unsigned) {
  const std::lock_guard lock(the().mutex);
  *address = std::aligned_alloc(64, (size + 63) / 64 * 64);
  std::memset(*address, 0xff, size);
  the().pinned.emplace(static_cast<const std::byte*>(*address), size);
  return the().result(cudaSuccess);
}

cudaError_t cudaFreeHost(void* address) {
  const std::lock_guard lock(the().mutex);
  for (int device = 0; device < machine::devices_max; ++device)
    the().drain(device);
  if (the().pinned.erase(static_cast<const std::byte*>(address)) != 1)
    die("cudaFreeHost of what was not allocated, or was freed before");
  std::free(address);
  return the().result(cudaSuccess);
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  const std::lock_guard lock(the().mutex);
  *total = machine::memory_bytes;
  *free = *total - the().used_bytes(current_device);
  return the().result(cudaSuccess);
}

cudaError_t cudaMemsetAsync(void* address, int value, std::size_t size, cudaStream_t stream) {
  const std::lock_guard lock(the().mutex);
  the().check_device(stream->device, address, size, "cudaMemsetAsync");
  the().enqueue(*stream, node::kind::fill, [=] { std::memset(address, value, size); });
  return the().result(cudaSuccess);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t size, cudaMemcpyKind kind, cudaStream_t stream) {
  const std::lock_guard lock(the().mutex);
  if (kind == cudaMemcpyHostToDevice)
    the().check_pinned(from, size, "cudaMemcpyAsync from the host");
  else
    the().check_device(stream->device, from, size, "cudaMemcpyAsync from the device");
  if (kind == cudaMemcpyDeviceToHost)
    the().check_pinned(to, size, "cudaMemcpyAsync to the host");
  else
    the().check_device(stream->device, to, size, "cudaMemcpyAsync to the device");
  the().enqueue(*stream, node::kind::copy, [=] { std::memmove(to, from, size); });
  return the().result(cudaSuccess);
}

cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, std::size_t size,
                                cudaStream_t stream) {
  const std::lock_guard lock(the().mutex);
  the().check_device(to_device, to, size, "cudaMemcpyPeerAsync");
  the().check_device(from_device, from, size, "cudaMemcpyPeerAsync");
  the().enqueue(*stream, [=] {
    the().check_device(from_device, from, size, "a copy between devices, from memory that was freed meanwhile");
    the().open(from_device);
    the().open(to_device);
    std::memmove(to, from, size);
    the().close(to_device);
    the().close(from_device);
  });
  return the().result(cudaSuccess);
}

// -- streams and events ---------------------------------------------------------------

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const std::lock_guard lock(the().mutex);
  if (flags != cudaStreamNonBlocking)
    die("a stream that waits for the default stream");
  the().streams.push_back(*stream = new emulated_stream{current_device});
  return the().result(cudaSuccess);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::lock_guard lock(the().mutex);
  the().drain(*stream);
  std::erase(the().streams, stream);
  the().wait_for_users(*stream);
  delete stream;
  return the().result(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard lock(the().mutex);
  ++the().waits;
  the().drain(*stream);
  return the().result(cudaSuccess);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const std::lock_guard lock(the().mutex);
  if (event->at)
    the().enqueue(*stream, [at = event->at] { the().run_until(*at); });
  return the().result(cudaSuccess);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new emulated_event{current_device, {}};
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(the().mutex);
  if (event->device != stream->device)
    die("cudaEventRecord of an event of device %d in a stream of device %d", event->device, stream->device);
  event->at = std::make_shared<point>(point{stream});
  the().enqueue(*stream, [at = event->at] { at->reached = true; });
  return the().result(cudaSuccess);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const std::lock_guard lock(the().mutex);
  if (event->at && !event->at->reached)
    the().progress(*event->at->of);
  return the().result(!event->at || event->at->reached ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const std::lock_guard lock(the().mutex);
  if (event->at)
    the().run_until(*event->at);
  return the().result(cudaSuccess);
}

// -- graphs ------------------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const std::lock_guard lock(the().mutex);
  if (stream->recorded)
    die("cudaStreamBeginCapture of a stream that is being recorded");
  stream->recorded.emplace();
  return the().result(cudaSuccess);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const std::lock_guard lock(the().mutex);
  if (!stream->recorded)
    die("cudaStreamEndCapture of a stream that is not being recorded");
  *graph = new emulated_graph{std::move(*stream->recorded)};
  stream->recorded.reset();
  return the().result(cudaSuccess);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
  const std::lock_guard lock(the().mutex);
  *made = new emulated_graph_exec{*graph};
  ++the().graphs_made;
  return the().result(cudaSuccess);
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t of, cudaGraph_t graph, cudaGraphExecUpdateResultInfo*) {
  const std::lock_guard lock(the().mutex);
  const auto same = [](const node& a, const node& b) { return a.what == b.what; };
  if (!std::ranges::equal(of->nodes, graph->nodes, same))
    return the().result(cudaErrorGraphExecUpdateFailure);
  of->nodes = graph->nodes;
  return the().result(cudaSuccess);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  const std::lock_guard lock(the().mutex);
  if (stream->device != current_device)
    die("a launch in a stream of device %d while %d is the thread's device", stream->device, current_device);
  ++the().graphs_launched;
  for (const node& each : graph->nodes)
    the().enqueue(*stream, each.run);
  return the().result(cudaSuccess);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  delete graph;
  return cudaSuccess;
}

// -- kernels -----------------------------------------------------------------------

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
  const std::lock_guard lock(the().mutex);
  if (static_cast<std::size_t>(value) > shared_bytes_max)
    return the().result(cudaErrorInvalidValue);
  shared_limits()[kernel] = static_cast<std::size_t>(value);
  return the().result(cudaSuccess);
}

cudaError_t emulated_launch(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> thread) {
  const std::lock_guard lock(the().mutex);
  const auto& [grid, block, shared_bytes, stream] = config;
  const auto threads = block.x * block.y * block.z;
  if (threads == 0 || threads > 1024 || threads % 32 != 0)
    die("a block of %u threads", threads);
  if (grid.x == 0 || grid.x > 0x7fffffffu || grid.y == 0 || grid.y > 65535 || grid.z == 0 || grid.z > 65535)
    die("a grid of %u x %u x %u blocks", grid.x, grid.y, grid.z);
  if (stream->device != current_device)
    die("a launch in a stream of device %d while %d is the thread's device", stream->device, current_device);
  const auto asked = shared_limits().find(kernel);
  if (shared_bytes > (asked == shared_limits().end() ? shared_bytes_unasked : asked->second))
    die("%zu bytes of shared memory, which were not asked for", shared_bytes);
  the().enqueue(*stream, node::kind::kernel, [=, thread = std::move(thread)] {
    troupe::emulator::run_grid(grid, block, shared_bytes, thread);
  });
  return the().result(cudaSuccess);
}

/// For tests: the device is lost with this error when the next piece of work is done; 0 mends it.
extern "C" [[gnu::visibility("default")]] void emulated_gpu_fail(int error) {
  const std::lock_guard lock(the().mutex);
  the().fails_next = static_cast<cudaError_t>(error);
  if (error == 0)
    the().sticky = the().last = cudaSuccess;
}

/// For tests: how often the host has waited for a stream.
extern "C" [[gnu::visibility("default")]] std::size_t emulated_gpu_waits() {
  const std::lock_guard lock(the().mutex);
  return the().waits;
}

/// For tests: how many graphs were made, and launched.
extern "C" [[gnu::visibility("default")]] std::size_t emulated_gpu_graphs_made() {
  const std::lock_guard lock(the().mutex);
  return the().graphs_made;
}
extern "C" [[gnu::visibility("default")]] std::size_t emulated_gpu_graphs_launched() {
  const std::lock_guard lock(the().mutex);
  return the().graphs_launched;
}

/// For libraries that work on streams, such as a stand-in for NCCL: has `run` called in its turn, once `is_due`. Both are
/// called with the machine's lock held.
extern "C" [[gnu::visibility("default")]] void emulated_gpu_enqueue(cudaStream_t stream, std::size_t size, void* address,
                                                                    const std::function<void()>& run,
                                                                    const std::function<bool()>& is_due) {
  const std::lock_guard lock(the().mutex);
  the().check_device(stream->device, address, size, "a transfer");
  if (is_due)
    the().enqueue(*stream, run, is_due);
  else
    the().enqueue(*stream, node::kind::kernel, run);
}

/// Does what is due in a stream, unless that is gone: a GPU works also while nobody waits for it.
extern "C" [[gnu::visibility("default")]] void emulated_gpu_progress(cudaStream_t stream) {
  const std::lock_guard lock(the().mutex);
  if (std::ranges::find(the().streams, stream) != the().streams.end())
    the().progress(*stream);
}
