#include "runtime/tensor/random.hpp"

#include <cmath>
#include <numbers>
#include <utility>

namespace troupe {

namespace {

/// Evaluates a polynomial, highest coefficient first. Every rounding is spelt out with fma, which compilers
/// may neither split nor fuse further, so that results are the same bits whatever the machine.
template <std::size_t N>
double horner(const std::array<double, N>& coefficients, double x) noexcept {
  double sum = coefficients[0];
  for (std::size_t i = 1; i < N; ++i)
    sum = std::fma(sum, x, coefficients[i]);
  return sum;
}

/// log(x) for x in (0, 1]: with x = m * 2^e and m near 1, log m = 2 artanh((m - 1) / (m + 1)).
double natural_log(double x) noexcept {
  int exponent = 0;
  double mantissa = std::frexp(x, &exponent);
  if (mantissa < std::numbers::sqrt2 / 2) {
    mantissa *= 2;
    --exponent;
  }
  const double s = (mantissa - 1) / (mantissa + 1);
  constexpr std::array series{2.0 / 21, 2.0 / 19, 2.0 / 17, 2.0 / 15, 2.0 / 13, 2.0 / 11,
                              2.0 / 9,  2.0 / 7,  2.0 / 5,  2.0 / 3,  2.0};
  return std::fma(exponent, std::numbers::ln2, s * horner(series, s * s));
}

/// (cos, sin) of 2 pi word / 2^32: the nearest quarter turn, and Taylor's series for what remains.
std::pair<double, double> circle_point(std::uint32_t word) noexcept {
  const std::uint32_t quarter = (word + (1u << 29)) >> 30;
  const auto rest = static_cast<std::int32_t>(word - (quarter << 30));  // in [-2^29, 2^29): at most an eighth turn
  const double angle = rest * (2 * std::numbers::pi * 0x1p-32);
  const double square = angle * angle;
  constexpr std::array sine_series{1.0 / 6227020800, -1.0 / 39916800, 1.0 / 362880, -1.0 / 5040,
                                   1.0 / 120,        -1.0 / 6,        1.0};
  constexpr std::array cosine_series{-1.0 / 87178291200, 1.0 / 479001600, -1.0 / 3628800, 1.0 / 40320,
                                     -1.0 / 720,         1.0 / 24,        -1.0 / 2,       1.0};
  const double sine = angle * horner(sine_series, square);
  const double cosine = horner(cosine_series, square);
  switch (quarter % 4) {
    case 0: return {cosine, sine};
    case 1: return {-sine, cosine};
    case 2: return {-cosine, -sine};
    default: return {sine, -cosine};
  }
}

}  // namespace

std::array<float, 4> normals(const philox_block& words) noexcept {
  std::array<float, 4> values;
  for (std::size_t i = 0; i < 4; i += 2) {
    const double radius = std::sqrt(-2 * natural_log((words[i] + 1.0) * 0x1p-32));
    const auto [cosine, sine] = circle_point(words[i + 1]);
    values[i] = static_cast<float>(radius * cosine);
    values[i + 1] = static_cast<float>(radius * sine);
  }
  return values;
}

}  // namespace troupe
