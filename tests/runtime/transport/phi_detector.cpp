#include "runtime/transport/phi_detector.hpp"

#include <cmath>

#include <doctest/doctest.h>

using namespace troupe;
using namespace std::chrono_literals;

namespace {

const phi_detector::clock::time_point begin{};

/// When `detector`, silent since `from`, is suspected: by steps of a millisecond.
double seconds_until_suspected(const phi_detector& detector, phi_detector::clock::time_point from) {
  auto now = from;
  while (!detector.suspicion(now))
    now += 1ms;
  return phi_detector::seconds(now - from).count();
}

/// Hears `count` signs of life, `gap(i)` after one another; the time of the last.
template <class Gap>
phi_detector::clock::time_point hear(phi_detector& detector, int count, Gap gap) {
  auto now = begin;
  for (int i = 0; i < count; ++i) {
    now += gap(i);
    detector.heard(now);
  }
  return now;
}

}  // namespace

TEST_CASE("phi is -log10 of the normal distribution's tail") {
  phi_detector detector({.interval = 1s, .deviation_min = 1s}, begin);
  hear(detector, 20, [](int) { return 1s; });
  const auto last = begin + 20s;
  CHECK(detector.phi(last + 1s) == doctest::Approx(-std::log10(0.5)));
  CHECK(detector.phi(last + 2s) == doctest::Approx(-std::log10(0.158655253931457)));
  CHECK(detector.phi(last + 7s) == doctest::Approx(-std::log10(9.865876450377e-10)));
  // Where doubles would end, an expansion goes on without a step.
  CHECK(detector.phi(last + 25s + 999ms) == doctest::Approx(detector.phi(last + 26s + 1ms)).epsilon(0.002));
  CHECK(detector.phi(last + 61s) > 700);
  CHECK(detector.phi(last + 61s) < detector.phi(last + 62s));
}

TEST_CASE("a regular peer is suspected after 15 intervals of silence") {
  phi_detector detector({}, begin);
  const auto last = hear(detector, 100, [](int) { return 200ms; });
  const auto seconds = seconds_until_suspected(detector, last);
  CHECK(seconds > 2.9);
  CHECK(seconds < 3.1);
  CHECK(detector.suspicion(last + 4s)->starts_with("no sign of life for 4.00 s; it was heard every 0.20 s before"));
}

TEST_CASE("one never heard of is judged by what was agreed") {
  const phi_detector detector({}, begin);
  CHECK(seconds_until_suspected(detector, begin) < 3.1);
}

TEST_CASE("irregular peers are given more time, up to the bound") {
  phi_detector regular({.silence_max = 60s}, begin), irregular({.silence_max = 60s}, begin);
  phi_detector bounded({.silence_max = 5s}, begin);
  const auto gap = [](int i) { return i % 4 == 0 ? 2'000ms : 200ms; };
  const auto steady = hear(regular, 64, [](int) { return 200ms; });
  const auto last = hear(irregular, 64, gap);
  hear(bounded, 64, gap);
  CHECK(seconds_until_suspected(irregular, last) > 2 * seconds_until_suspected(regular, steady));
  CHECK(seconds_until_suspected(bounded, last) == doctest::Approx(5.0));
}

TEST_CASE("a burst of data does not make a detector rash") {
  phi_detector detector({}, begin);
  const auto last = hear(detector, 100'000, [](int) { return 10us; });
  CHECK(seconds_until_suspected(detector, last) > 2.5);
}

TEST_CASE("old samples are forgotten") {
  phi_detector detector({.silence_max = 60s}, begin);
  auto now = hear(detector, 64, [](int i) { return i % 4 == 0 ? 2'000ms : 200ms; });
  for (int i = 0; i < 64; ++i)
    detector.heard(now += 200ms);
  CHECK(seconds_until_suspected(detector, now) < 3.1);
}

TEST_CASE("a silence that was ours is forgiven, and teaches nothing") {
  phi_detector detector({}, begin);
  auto last = hear(detector, 100, [](int) { return 200ms; });
  last += 1h;
  detector.forgive(last);
  CHECK(seconds_until_suspected(detector, last) == doctest::Approx(3.0).epsilon(0.03));
  detector.heard(last += 200ms);
  CHECK(seconds_until_suspected(detector, last) == doctest::Approx(3.0).epsilon(0.03));
}
