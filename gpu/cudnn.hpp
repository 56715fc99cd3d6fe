#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "runtime/tensor/device.hpp"

namespace troupe::gpu {

/// cuDNN cannot do it on this machine, now or later: it is missing, too old, or has no kernel for it.
class cudnn_refusal : public device_error {
 public:
  using device_error::device_error;
};

/// NVIDIA's library of neural networks, opened at run time, so that this folder is built and runs without it.
///
/// Declared here, after the reference of its graph API, is what is used of it; its own names are in brackets.
class cudnn {
 public:
  using handle = void*;      // [cudnnHandle_t]: one thread at a time
  using descriptor = void*;  // [cudnnBackendDescriptor_t]
  static constexpr int success = 0, internal_error = 4000;  // [cudnnStatus_t]: categories are thousands

  /// [cudnnBackendDescriptorType_t]
  enum class kind : int {
    pointwise = 0,
    engine_configuration = 3,
    heuristic = 4,
    plan = 5,
    pointwise_operation = 13,
    graph = 15,
    variant_pack = 16,
    tensor = 17,
    matmul = 18,
    matmul_operation = 19,
    reduction = 21,
    reduction_operation = 22,
    reshape_operation = 31,
  };

  /// [cudnnBackendAttributeName_t]
  enum class attribute : int {
    pointwise_mode = 0,
    pointwise_precision = 1,
    pointwise_axis = 9,
    heuristic_mode = 200,
    heuristic_graph = 201,
    heuristic_results = 202,
    plan_configuration = 401,
    plan_workspace_bytes = 402,
    pointwise_description = 750,
    pointwise_x = 751,
    pointwise_b = 752,
    pointwise_y = 753,
    pointwise_condition = 758,
    graph_handle = 800,
    graph_operations = 801,
    tensor_alignment = 900,
    tensor_type = 901,
    tensor_extents = 902,
    tensor_strides = 903,
    tensor_id = 906,
    tensor_is_virtual = 907,
    tensor_is_by_value = 908,
    pack_ids = 1000,
    pack_addresses = 1001,
    pack_workspace = 1003,
    matmul_precision = 1500,
    matmul_a = 1520,
    matmul_b = 1521,
    matmul_c = 1522,
    matmul_description = 1523,
    reduction_operator = 1600,
    reduction_precision = 1601,
    reduction_x = 1610,
    reduction_y = 1611,
    reduction_description = 1612,
    reshape_x = 2200,
    reshape_y = 2201,
  };

  /// [cudnnBackendAttributeType_t]
  enum class type : int {
    handle = 0,
    element = 1,
    boolean = 2,
    int64 = 3,
    address = 6,
    heuristic = 8,
    pointwise = 14,
    descriptor = 15,
    reduction = 18,
  };

  enum class element : int { float32 = 0, int32 = 4, bfloat16 = 9, boolean = 11 };       // [cudnnDataType_t]
  enum class reduction : int { add = 0, max = 3 };                                       // [cudnnReduceTensorOp_t]
  enum class heuristic : int { best = 3 };                                               // [cudnnBackendHeurMode_t]
  enum class pointwise : int {                                                           // [cudnnPointwiseMode_t]
    add = 0,
    multiply = 1,
    divide = 6,
    subtract = 9,
    exp = 13,
    log = 15,
    greater_or_equal = 303,
    index = 501,   // of the element along an axis
    select = 601,  // x where the condition holds, else b
  };

  /// What TROUPE_CUDNN_LIBRARY names, or libcudnn.so.9 where the dynamic linker finds it. Throws cudnn_refusal, which
  /// says what to do, where it is missing, too old, or "off".
  static std::shared_ptr<const cudnn> open();

  /// "cuDNN 9.19.0"
  std::string name() const;
  /// Throws device_error where `status` is a failure: what the library was doing, and what it says. That is a
  /// cudnn_refusal unless memory was short or work went wrong.
  void check(int status, const char* doing) const;

  std::size_t (*get_version)() = nullptr;
  int (*create)(handle* made) = nullptr;
  int (*destroy)(handle which) = nullptr;
  int (*set_stream)(handle of, cudaStream_t stream) = nullptr;
  int (*create_descriptor)(kind what, descriptor* made) = nullptr;
  int (*destroy_descriptor)(descriptor which) = nullptr;
  int (*set_attribute)(descriptor of, attribute name, type each, std::int64_t count, const void* values) = nullptr;
  int (*get_attribute)(descriptor of, attribute name, type each, std::int64_t room, std::int64_t* count,
                       void* values) = nullptr;
  int (*finalize)(descriptor which) = nullptr;
  int (*execute)(handle by, descriptor plan, descriptor pack) = nullptr;
  const char* (*get_error_string)(int status) = nullptr;
  void (*get_last_error_string)(char* text, std::size_t room) = nullptr;
};

}  // namespace troupe::gpu
