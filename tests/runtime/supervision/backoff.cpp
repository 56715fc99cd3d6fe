#include "runtime/supervision/backoff.hpp"

#include <set>

#include <doctest/doctest.h>

using namespace troupe;
using std::chrono::milliseconds;

TEST_CASE("delays double up to a bound") {
  const backoff policy{milliseconds{100}, milliseconds{1'000}, 0.0};
  CHECK(policy.delay(1, 0) == milliseconds{100});
  CHECK(policy.delay(2, 0) == milliseconds{200});
  CHECK(policy.delay(4, 0) == milliseconds{800});
  CHECK(policy.delay(5, 0) == milliseconds{1'000});
  CHECK(policy.delay(4'000'000'000u, 0) == milliseconds{1'000});
  CHECK(backoff{}.delay(5, 0) == milliseconds{0});
}

TEST_CASE("jitter spreads delays within its share, and is a function of seed and draw") {
  const backoff policy{milliseconds{10'000}, milliseconds{10'000}, 0.2, 7};
  std::set<milliseconds> seen;
  milliseconds sum{0};
  for (std::uint64_t draw = 0; draw < 1'000; ++draw) {
    const auto delay = policy.delay(1, draw);
    CHECK(delay >= milliseconds{8'000});
    CHECK(delay <= milliseconds{12'000});
    CHECK(delay == policy.delay(1, draw));
    seen.insert(delay);
    sum += delay;
  }
  CHECK(seen.size() > 700);
  CHECK(sum / 1'000 > milliseconds{9'900});
  CHECK(sum / 1'000 < milliseconds{10'100});
  const backoff other{milliseconds{10'000}, milliseconds{10'000}, 0.2, 8};
  CHECK(other.delay(1, 0) != policy.delay(1, 0));
}
