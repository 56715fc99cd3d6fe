#pragma once

#include <cuda_runtime.h>

#include <climits>
#include <cstddef>
#include <memory>
#include <string>

#include "runtime/tensor/device_channel.hpp"

namespace troupe::gpu {

/// NVIDIA's communication library, opened at run time, so that this folder is built and runs without it.
///
/// Declared here, after NCCL's reference, is what is used of it; its own names are in brackets. Thread safe, save that
/// calls on one communicator come one at a time, but for `abort`.
class nccl {
 public:
  using communicator = void*;  // [ncclComm_t]
  struct unique_id {           // [ncclUniqueId]
    char bytes[sizeof(channel_id)];
  };
  static constexpr int success = 0, in_progress = 7;  // [ncclResult_t]: all others are failures
  static constexpr int byte_type = 1;                 // [ncclUint8]

  /// [ncclConfig_t] as of 2.17; later libraries take it by its size and version.
  struct configuration {
    static constexpr int unset = INT_MIN;

    std::size_t size = sizeof(configuration);
    unsigned magic = 0xcafebeef;
    unsigned version = 21700;
    int blocking = unset;
    int cluster_size = unset;
    int blocks_min = unset;
    int blocks_max = unset;
    const char* network = nullptr;
  };

  /// What TROUPE_NCCL_LIBRARY names, or libnccl.so.2 where the dynamic linker finds it. Throws device_error, which says
  /// what to do, where it is missing or too old.
  static std::shared_ptr<const nccl> open();

  int (*get_unique_id)(unique_id* id) = nullptr;
  int (*init_rank)(communicator* made, int ranks, unique_id id, int rank, configuration* how) = nullptr;
  int (*get_async_error)(communicator of, int* error) = nullptr;
  int (*abort)(communicator which) = nullptr;
  int (*group_start)() = nullptr;
  int (*group_end)() = nullptr;
  int (*send)(const void* from, std::size_t count, int type, int peer, communicator by, cudaStream_t stream) = nullptr;
  int (*receive)(void* to, std::size_t count, int type, int peer, communicator by, cudaStream_t stream) = nullptr;
  const char* (*get_error_string)(int error) = nullptr;
  const char* (*get_last_error)(communicator of) = nullptr;
};

}  // namespace troupe::gpu
