#include "runtime/transport/phi_detector.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <fmt/format.h>

namespace troupe {

void phi_detector::heard(clock::time_point now) noexcept {
  last_ = now;
  // A burst of data says nothing of how long a pause may last: it would teach the detector to expect microseconds.
  const seconds since = now - last_sample_;
  if (since < how_.interval / 2)
    return;
  samples_[count_++ % samples_.size()] = since.count();
  last_sample_ = now;
}

void phi_detector::forgive(clock::time_point now) noexcept {
  last_ = now;
  last_sample_ = now;
}

phi_detector::distribution phi_detector::intervals() const noexcept {
  const auto size = std::min(count_, samples_.size());
  if (size == 0)
    return {how_.interval.count(), how_.deviation_min.count()};
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < size; ++i) {
    sum += samples_[i];
    squares += samples_[i] * samples_[i];
  }
  const auto mean = sum / static_cast<double>(size);
  const auto variance = std::max(0.0, squares / static_cast<double>(size) - mean * mean);
  return {mean, std::max(std::sqrt(variance), how_.deviation_min.count())};
}

double phi_detector::phi(clock::time_point now) const noexcept {
  const auto [mean, deviation] = intervals();
  const auto z = (seconds(now - last_).count() - mean) / deviation;
  // The chance of a longer silence. Far out it is less than a double holds, and its logarithm's expansion is exact
  // enough.
  if (z < 25)
    return std::max(0.0, -std::log10(0.5 * std::erfc(z / std::numbers::sqrt2)));
  return z * z / 2 * std::numbers::log10e + std::log10(z * std::sqrt(2 * std::numbers::pi));
}

std::optional<std::string> phi_detector::suspicion(clock::time_point now) const {
  const seconds silence = now - last_;
  const auto level = phi(now);
  if (level < how_.threshold && silence < how_.silence_max)
    return std::nullopt;
  return fmt::format("no sign of life for {:.2f} s; it was heard every {:.2f} s before, phi {:.1f}", silence.count(),
                     intervals().mean, level);
}

}  // namespace troupe
