#pragma once

/// Elementary functions of sixteen floats, to about 2e-7 relative. NaN stays NaN.

#include "runtime/tensor/cpu/simd.hpp"

namespace troupe::cpu {

/// Evaluates c[0] + c[1] x + c[2] x^2 + ... by Horner's rule.
template <std::size_t Count>
[[gnu::always_inline]] inline floats polynomial(floats x, const float (&c)[Count]) noexcept {
  floats y = broadcast(c[Count - 1]);
  for (std::size_t i = Count - 1; i-- > 0;)
    y = y * x + c[i];
  return y;
}

/// e^x: x = n ln 2 + r, e^r by a minimax polynomial on |r| <= ln 2 / 2. Saturates at e^-87 and e^87, so that no result
/// leaves the range of normal numbers.
inline floats exp(floats x) noexcept {
  x = min(broadcast(87.0f), max(broadcast(-87.0f), x));
  const floats rounding = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const floats n = (x * 1.44269504088896341f + rounding) - rounding;
  const floats r = (x - n * 0.693145751953125f) - n * 1.42860682030941723e-6f;
  const floats p = polynomial(r, {0.4999999403953552f, 0.16666515171527863f, 0.04166845604777336f,
                                  0.008369418792426586f, 0.0013813144760206342f});
  const floats e = r * r * p + r + 1.0f;
#if defined(__AVX512F__)
  return (floats)_mm512_scalef_ps((__m512)e, (__m512)n);
#else
  return e * (floats)((__builtin_convertvector(n, ints) + 127) << 23);
#endif
}

/// 1 / (1 + e^-x).
inline floats sigmoid(floats x) noexcept { return reciprocal(1.0f + exp(-x)); }

/// The normal distribution's cumulative function, (1 + erf(x / sqrt 2)) / 2, and its density.
struct normal {
  floats cumulative;
  floats density;
};

/// The tail is e^(-x^2 / 2) times a minimax polynomial in t = 1 / (1 + z / 2), z = |x| / sqrt 2, for
/// erfc(z) e^(z^2) / t on [0, 10].
inline normal normal_at(floats x) noexcept {
  const floats gauss = exp(x * x * -0.5f);
  const floats z = max(x, -x) * 0.707106781186547524f;
  const floats t = reciprocal(z * 0.5f + 1.0f);
  const floats tail =
      0.5f * gauss * t *
      polynomial(t, {0.28208643198013306f, 0.282375305891037f, 0.2431037724018097f, 0.20268680155277252f,
                     -0.026625487953424454f, 0.27806687355041504f, -0.487199604511261f, 0.28457480669021606f,
                     -0.05906892567873001f});
  return {x < 0.0f ? tail : 1.0f - tail, gauss * 0.398942280401432678f};
}

}  // namespace troupe::cpu
