#pragma once

/// A stand-in for the part of the CUDA runtime that gpu/ uses, so that gpu/ compiles with a plain C++ compiler and runs
/// on a processor. Names and meanings are CUDA's; see ../README.md for what it checks besides.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>

// -- the language --------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __shared__ static  // one block runs at a time
#define __launch_bounds__(threads)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;

  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};

/// Vectors that move by one access each. Not aligned as CUDA's are, so that the compiler believes nothing of addresses,
/// which every move checks.
void emulated_access(const void* address, std::size_t size);
template <std::size_t count>
struct emulated_vector {
  unsigned words[count];

  emulated_vector() = default;
  emulated_vector(const emulated_vector& from) { *this = from; }
  emulated_vector& operator=(const emulated_vector& from) {
    emulated_access(&from, sizeof words);
    emulated_access(this, sizeof words);
    std::memcpy(words, from.words, sizeof words);
    return *this;
  }
};
using uint2 = emulated_vector<2>;
using uint4 = emulated_vector<4>;

/// Of the thread that runs now.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

void __syncthreads();
void* emulated_shared_memory();
/// The eight bytes that lane `source` of the calling thread's warp hands in, in the same call.
std::uint64_t emulated_shuffle(unsigned mask, std::uint64_t bits, unsigned source);
unsigned emulated_lane();

// The matrix units' instructions, by the PTX ISA's tables of which lane holds what; see gpu/kernels/matrix_units.hpp.
void emulated_multiply_add(float* sums, const std::uint32_t* left, const std::uint32_t* right);
void emulated_load_matrices(std::uint32_t* to, const void* row, bool transposed);
// Copies arrive when they are waited for, and not before.
void emulated_copy_ahead(void* to, const void* from, bool exists);
void emulated_end_copy_group();
void emulated_wait_for_copies(int but);

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = emulated_shuffle(mask, bits, emulated_lane() ^ static_cast<unsigned>(lane_mask));
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <class T>
T max(T a, T b) { return a < b ? b : a; }
template <class T>
T min(T a, T b) { return b < a ? b : a; }

// -- errors ----------------------------------------------------------------------

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorDevicesUnavailable = 46,
  cudaErrorNoDevice = 100,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorECCUncorrectable = 214,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchTimeout = 702,
  cudaErrorPeerAccessAlreadyEnabled = 704,
  cudaErrorAssert = 710,
  cudaErrorHardwareStackError = 714,
  cudaErrorIllegalInstruction = 715,
  cudaErrorMisalignedAddress = 716,
  cudaErrorInvalidAddressSpace = 717,
  cudaErrorInvalidPc = 718,
  cudaErrorLaunchFailure = 719,
  cudaErrorGraphExecUpdateFailure = 910,
};

const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();

// -- devices ---------------------------------------------------------------------

struct cudaUUID_t {
  char bytes[16];
};
struct cudaDeviceProp {
  char name[256];
  cudaUUID_t uuid;
  int major, minor;
  int multiProcessorCount;
};

cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer);
cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetPCIBusId(char* address, int length, int device);

// -- memory ----------------------------------------------------------------------

enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
inline constexpr unsigned cudaHostAllocPortable = 1;

struct emulated_stream;
using cudaStream_t = emulated_stream*;

cudaError_t cudaMalloc(void** address, std::size_t size);
cudaError_t cudaFree(void* address);
cudaError_t cudaHostAlloc(void** address, std::size_t size, unsigned flags);
cudaError_t cudaFreeHost(void* address);
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);
cudaError_t cudaMemsetAsync(void* address, int value, std::size_t size, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t size, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, std::size_t size,
                                cudaStream_t stream);

// -- streams and events ------------------------------------------------------------

struct emulated_event;
using cudaEvent_t = emulated_event*;
inline constexpr unsigned cudaStreamNonBlocking = 1;
inline constexpr unsigned cudaEventBlockingSync = 1;
inline constexpr unsigned cudaEventDisableTiming = 2;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);

// -- graphs ------------------------------------------------------------------------

enum cudaStreamCaptureMode { cudaStreamCaptureModeRelaxed = 2 };
struct emulated_graph;
using cudaGraph_t = emulated_graph*;
struct emulated_graph_exec;
using cudaGraphExec_t = emulated_graph_exec*;
struct cudaGraphExecUpdateResultInfo {};

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t of, cudaGraph_t graph, cudaGraphExecUpdateResultInfo* result);
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph);

// -- kernels -----------------------------------------------------------------------

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute which, int value);
cudaError_t emulated_launch(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> thread);

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments&&... arguments) {
  return emulated_launch(*config, reinterpret_cast<const void*>(kernel),
                         [kernel, given = std::tuple<Parameters...>(std::forward<Arguments>(arguments)...)] {
                           std::apply(kernel, given);
                         });
}
