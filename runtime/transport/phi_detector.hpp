#pragma once

/// Whether a peer that says nothing is still there: the phi-accrual detector of Hayashibara et al. 2004, "The phi
/// accrual failure detector". Pure mathematics; whoever uses it passes the time in.

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

namespace troupe {

/// Phi of a silence is -log10 of the chance that a peer which is alive would have been silent for that long, judged by
/// how regularly it was heard so far: at phi 12 one suspicion in 10^12 is wrong, if silences are normally distributed.
class phi_detector {
 public:
  using clock = std::chrono::steady_clock;
  using seconds = std::chrono::duration<double>;

  struct settings {
    seconds interval{0.2};       ///< between heartbeats, as the peer is asked to send them
    /// What the deviation is taken for where it is less. It keeps a quiet network from making the detector rash: with
    /// twice the interval, phi 12 takes at least 15 intervals of silence.
    seconds deviation_min{0.4};
    double threshold = 12;
    seconds silence_max{5};      ///< as long a silence is death, however irregular the peer has been
  };

  phi_detector(const settings& how, clock::time_point now) noexcept : how_(how), last_(now), last_sample_(now) {}

  /// Something came.
  void heard(clock::time_point now) noexcept;

  /// The silence until now is no fault of the peer's.
  void forgive(clock::time_point now) noexcept;

  double phi(clock::time_point now) const noexcept;

  /// The evidence, where the peer is to be given up.
  std::optional<std::string> suspicion(clock::time_point now) const;

 private:
  struct distribution {
    double mean = 0;
    double deviation = 0;
  };
  distribution intervals() const noexcept;

  settings how_;
  clock::time_point last_;
  clock::time_point last_sample_;
  std::array<double, 64> samples_{};  ///< in seconds; the last ones, in a ring
  std::size_t count_ = 0;             ///< of all samples ever taken
};

}  // namespace troupe
