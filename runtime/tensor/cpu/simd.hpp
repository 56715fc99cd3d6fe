#pragma once

/// Sixteen floats at a time, by the compiler's vector extensions: one AVX-512 register, two of AVX2 or four of SSE.
/// Kernels are written once over these; only what the extensions lack is spelled out by instruction set.

#include <cstdint>
#include <cstring>
#include <initializer_list>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace troupe::cpu {

inline constexpr std::int64_t lanes = 16;

using floats = float __attribute__((vector_size(64)));
using ints = std::int32_t __attribute__((vector_size(64)));
using unsigneds = std::uint32_t __attribute__((vector_size(64)));
using eight_floats = float __attribute__((vector_size(32)));
using doubles = double __attribute__((vector_size(64)));

/// What part of a vector a loop's body works on; see `each_vector`.
struct all_lanes {};
struct first_lanes {
  int count;
};

inline floats broadcast(float v) noexcept { return floats{v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v}; }

// -- memory -------------------------------------------------------------------

inline floats load(const float* p, all_lanes = {}) noexcept {
  floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store(float* p, floats v, all_lanes = {}) noexcept { std::memcpy(p, &v, sizeof v); }

/// Lanes beyond the count are zero, and their memory is not touched.
inline floats load(const float* p, first_lanes part) noexcept {
#if defined(__AVX512F__)
  return (floats)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << part.count) - 1), p);
#else
  floats v{};
  std::memcpy(&v, p, static_cast<std::size_t>(part.count) * sizeof(float));
  return v;
#endif
}

inline void store(float* p, floats v, first_lanes part) noexcept {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << part.count) - 1), (__m512)v);
#else
  std::memcpy(p, &v, static_cast<std::size_t>(part.count) * sizeof(float));
#endif
}

/// Stores past the caches: the line written is not read first, and nothing useful is displaced by what nobody reads
/// soon. REQUIRES: `p` is aligned to 64 bytes; streamed() follows before anybody is told of the results.
inline void stream_out(float* p, floats v) noexcept {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, (__m512)v);
#elif defined(__AVX2__)
  __m256 half[2];
  std::memcpy(half, &v, sizeof v);
  _mm256_stream_ps(p, half[0]);
  _mm256_stream_ps(p + 8, half[1]);
#else
  store(p, v);
#endif
}

/// Such stores are not ordered with others, not even by the release of an atomic.
inline void streamed() noexcept {
#if defined(__AVX512F__) || defined(__AVX2__)
  _mm_sfence();
#endif
}

/// Calls body(first, part) for [0, count) in vectors; the last may be partial.
template <class Body>
[[gnu::always_inline]] inline void each_vector(std::int64_t count, Body&& body) {
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes)
    body(i, all_lanes{});
  if (i < count)
    body(i, first_lanes{static_cast<int>(count - i)});
}

// -- lane by lane -------------------------------------------------------------

/// Where either is NaN: b.
inline floats max(floats a, floats b) noexcept {
#if defined(__AVX512F__)
  return (floats)_mm512_max_ps((__m512)a, (__m512)b);
#else
  return a > b ? a : b;
#endif
}

/// Where either is NaN: b.
inline floats min(floats a, floats b) noexcept {
#if defined(__AVX512F__)
  return (floats)_mm512_min_ps((__m512)a, (__m512)b);
#else
  return a < b ? a : b;
#endif
}

inline floats sqrt(floats v) noexcept {
#if defined(__AVX512F__)
  return (floats)_mm512_sqrt_ps((__m512)v);
#else
  for (int i = 0; i < lanes; ++i)
    v[i] = __builtin_sqrtf(v[i]);
  return v;
#endif
}

/// 1 / v, to about an ulp; for normal numbers whose reciprocals are normal.
inline floats reciprocal(floats v) noexcept {
#if defined(__AVX512F__)
  const floats guess = (floats)_mm512_rcp14_ps((__m512)v);  // good to 14 bits, which one step of Newton's doubles
  return guess * (2.0f - v * guess);
#else
  return 1.0f / v;
#endif
}

/// `v` in the lanes of `part`, `other` in the rest.
inline floats keep(floats v, all_lanes, float) noexcept { return v; }
inline floats keep(floats v, first_lanes part, float other) noexcept {
  constexpr ints index{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return index < part.count ? v : broadcast(other);
}

// -- across lanes, by a fixed tree ----------------------------------------------

template <class Combine>
[[gnu::always_inline]] inline float reduce(floats v, Combine combine) noexcept {
  v = combine(v, __builtin_shuffle(v, ints{8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7}));
  v = combine(v, __builtin_shuffle(v, ints{4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11}));
  v = combine(v, __builtin_shuffle(v, ints{2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13}));
  v = combine(v, __builtin_shuffle(v, ints{1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14}));
  return v[0];
}

inline float sum_of(floats v) noexcept {
  return reduce(v, [](floats a, floats b) { return a + b; });
}

inline float max_of(floats v) noexcept {
  return reduce(v, [](floats a, floats b) { return max(a, b); });
}

// -- double precision -----------------------------------------------------------

inline doubles widen(const float* p) noexcept {
  eight_floats v;
  std::memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, doubles);
}

inline double sum_of(doubles v) noexcept {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

}  // namespace troupe::cpu
