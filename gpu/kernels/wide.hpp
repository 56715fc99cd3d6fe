#pragma once

/// How kernels move what their speed hangs on, the bytes of memory: a thread moves a pack of neighbouring elements at
/// once, 16 bytes an access. Where a tensor does not begin at a multiple of those, and where a row ends, the same thread
/// moves the same elements one by one. Only the accesses differ, never who computes what and in which order: bits do not
/// depend on where tensors lie.

#include <algorithm>
#include <type_traits>

#include "gpu/kernels/device_code.hpp"

namespace troupe::gpu {

/// Elements of a pack of all these types: one access of the smallest, several of wider ones.
template <class... T>
inline constexpr int pack_size = static_cast<int>(sizeof(uint4) / std::min({sizeof(T)...}));

/// Accesses of a pack: of 16 bytes, or of eight where it has no more.
template <class T, int N>
using access = std::conditional_t<N * sizeof(T) % sizeof(uint4) == 0, uint4, uint2>;

template <class T, int N>
struct alignas(access<T, N>) pack {
  T elements[N];

  __device__ T& operator[](int n) { return elements[n]; }
  __device__ const T& operator[](int n) const { return elements[n]; }
};

/// What a thread moves at once: so many elements, `whole` where it is a pack that lies at a multiple of its accesses.
struct part {
  int count;
  bool whole;
};

/// The part of a row that a pack from `column` on has.
template <int N>
__device__ part part_of_row(std::int64_t columns, std::int64_t column, bool aligned) {
  const auto count = static_cast<int>(min(columns - column, std::int64_t{N}));
  return {count, aligned && count == N};
}

/// Whether whole packs may begin at each of the addresses. Absent arrays forbid nothing.
template <class... T>
__device__ bool are_aligned(const T*... addresses) {
  return ((reinterpret_cast<std::uintptr_t>(addresses) | ...) % sizeof(uint4)) == 0;
}

/// Zeros beyond the part.
template <int N, class T>
__device__ pack<T, N> load(const T* from, part of) {
  using word = access<T, N>;
  pack<T, N> to;
  if (of.whole) {
#pragma unroll
    for (std::size_t i = 0; i < sizeof to / sizeof(word); ++i)
      reinterpret_cast<word*>(to.elements)[i] = reinterpret_cast<const word*>(from)[i];
  } else {
#pragma unroll
    for (int n = 0; n < N; ++n)
      to[n] = n < of.count ? from[n] : T(0.0f);
  }
  return to;
}

// One access, by name: the compiler takes some apart that are written as assignments.
__device__ inline void store_word(uint4* to, const uint4& word) {
#if defined(__CUDA_ARCH__)
  asm volatile("st.v4.b32 [%0], {%1, %2, %3, %4};"
               :
               : "l"(to), "r"(word.x), "r"(word.y), "r"(word.z), "r"(word.w)
               : "memory");
#else
  *to = word;
#endif
}
__device__ inline void store_word(uint2* to, const uint2& word) {
#if defined(__CUDA_ARCH__)
  asm volatile("st.v2.b32 [%0], {%1, %2};" : : "l"(to), "r"(word.x), "r"(word.y) : "memory");
#else
  *to = word;
#endif
}

template <int N, class T>
__device__ void store(T* to, const pack<T, N>& from, part of) {
  using word = access<T, N>;
  if (of.whole) {
#pragma unroll
    for (std::size_t i = 0; i < sizeof from / sizeof(word); ++i)
      store_word(reinterpret_cast<word*>(to) + i, reinterpret_cast<const word*>(from.elements)[i]);
  } else {
#pragma unroll
    for (int n = 0; n < N; ++n)
      if (n < of.count)
        to[n] = from[n];
  }
}

/// sums += terms.
template <class T, int N>
__device__ void add(pack<float, N>& sums, const pack<T, N>& terms) {
#pragma unroll
  for (int n = 0; n < N; ++n)
    sums[n] += float(terms[n]);
}

/// to += terms, in memory.
template <int N>
__device__ void add_to(float* to, const pack<float, N>& terms, part of) {
  pack<float, N> sums = load<N>(to, of);
  add(sums, terms);
  store<N>(to, sums, of);
}

/// Calls body(column, part) for the packs of a row that the calling thread of a one-dimensional block owns.
template <int N, class Body>
__device__ void each_own_pack(std::int64_t columns, bool aligned, Body&& body) {
  for (std::int64_t column = std::int64_t{threadIdx.x} * N; column < columns; column += std::int64_t{blockDim.x} * N)
    body(column, part_of_row<N>(columns, column, aligned));
}

/// Threads of a block for a row, as each_own_pack shares it out: whole warps, a pack each where that is not too many.
template <int N>
unsigned threads_of_row(std::int64_t columns) {
  constexpr std::int64_t most = 512;
  return static_cast<unsigned>(std::min(most, ceiling(ceiling(columns, N), warp_size) * warp_size));
}

}  // namespace troupe::gpu
