#pragma once

/// What kernels share: reductions over warps and blocks, elementary functions, shared memory. Kernels are plain CUDA
/// C++ and keep to what an emulator of blocks can run, too (tests/gpu/emulator): whole warps take part in every
/// shuffle, whole blocks in every barrier.

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "runtime/tensor/device.hpp"

namespace troupe::gpu {

inline constexpr int warp_size = 32;
inline constexpr unsigned whole_warp = 0xffffffffu;

/// The block's dynamic shared memory.
template <class T>
__device__ T* shared_memory() {
#if defined(__CUDACC__)
  extern __shared__ __align__(16) unsigned char bytes[];
  return reinterpret_cast<T*>(bytes);
#else
  return static_cast<T*>(emulated_shared_memory());
#endif
}

/// T(value), by one instruction where that rounds to bfloat16; only the bits of NaN are its own.
template <class T>
__device__ T rounded(float value) {
#if defined(__CUDA_ARCH__)
  if constexpr (std::is_same_v<T, bfloat16>) {
    bfloat16 to;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(value));
    return to;
  }
#endif
  return T(value);
}

/// The sum over `width` neighbouring lanes, a power of two, in each of them.
template <int width = warp_size, class T>
__device__ T lanes_sum(T value) {
  for (int step = width / 2; step > 0; step /= 2)
    value += __shfl_xor_sync(whole_warp, value, step);
  return value;
}

template <int width = warp_size, class T>
__device__ T lanes_max(T value) {
  for (int step = width / 2; step > 0; step /= 2)
    value = max(value, __shfl_xor_sync(whole_warp, value, step));
  return value;
}

/// The sum over a one-dimensional block of whole warps, in each thread. May be called again at once.
template <class T>
__device__ T block_sum(T value) {
  __shared__ T parts[warp_size];
  value = lanes_sum(value);
  __syncthreads();  // the call before is through with `parts`
  if (threadIdx.x % warp_size == 0)
    parts[threadIdx.x / warp_size] = value;
  __syncthreads();
  T sum = parts[0];
  for (unsigned warp = 1; warp < blockDim.x / warp_size; ++warp)
    sum += parts[warp];
  return sum;
}

__device__ inline float block_max(float value) {
  __shared__ float parts[warp_size];
  value = lanes_max(value);
  __syncthreads();
  if (threadIdx.x % warp_size == 0)
    parts[threadIdx.x / warp_size] = value;
  __syncthreads();
  float greatest = parts[0];
  for (unsigned warp = 1; warp < blockDim.x / warp_size; ++warp)
    greatest = max(greatest, parts[warp]);
  return greatest;
}

/// Dropout's factor of element `index`: zero, or 1 / (1 - p).
struct dropout_factors {
  random_key key;
  std::uint32_t threshold = 0;
  float survivor = 1.0f;

  dropout_factors() = default;
  explicit dropout_factors(const dropout_options& options)
      : key(options.key),
        threshold(dropout_threshold(options.probability)),
        survivor(static_cast<float>(1.0 / (1.0 - options.probability))) {}

  __device__ float of_word(std::uint32_t word) const { return word < threshold ? 0.0f : survivor; }
  __device__ float operator()(std::uint64_t index) const {
    const philox_block block = random_block(key, index / 4);
    const std::uint32_t low = index % 2 == 0 ? block[0] : block[1], high = index % 2 == 0 ? block[2] : block[3];
    return of_word(index % 4 < 2 ? low : high);
  }
};

// -- nonlinearities: value and derivative -----------------------------------------

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

struct relu {
  static __device__ float value(float x) { return x < 0.0f ? 0.0f : x; }
  static __device__ float slope(float x) { return x > 0.0f ? 1.0f : 0.0f; }
};

struct gelu {
  static __device__ float cumulative(float x) { return 0.5f * erfcf(x * -0.707106781186547524f); }
  static __device__ float value(float x) { return x * cumulative(x); }
  static __device__ float slope(float x) {
    return cumulative(x) + x * 0.398942280401432678f * expf(-0.5f * x * x);
  }
};

/// x (1 + tanh u) / 2 = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3).
struct gelu_tanh {
  static constexpr float twice = 1.59576912160573071f;  // 2 sqrt(2 / pi)
  static constexpr float cubic = 0.044715f;

  static __device__ float value(float x) { return x * sigmoid(twice * x * (x * x * cubic + 1.0f)); }
  static __device__ float slope(float x) {
    const float square = x * x;
    const float s = sigmoid(twice * x * (square * cubic + 1.0f));
    return s + s * (1.0f - s) * (twice * x * (square * (3.0f * cubic) + 1.0f));
  }
};

struct silu {
  static __device__ float value(float x) { return x * sigmoid(x); }
  static __device__ float slope(float x) {
    const float s = sigmoid(x);
    return s + x * s * (1.0f - s);
  }
};

/// Calls body(function{}) with the type that `kind` names.
template <class Body>
void with_activation(activation kind, Body&& body) {
  switch (kind) {
    case activation::relu:
      return body(relu{});
    case activation::gelu:
      return body(gelu{});
    case activation::gelu_tanh:
      return body(gelu_tanh{});
    case activation::silu:
      return body(silu{});
  }
}

constexpr std::int64_t ceiling(std::int64_t a, std::int64_t b) noexcept { return (a + b - 1) / b; }

}  // namespace troupe::gpu
