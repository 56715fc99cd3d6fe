#include "cli/refusal_log.hpp"

#include <vector>

#include <doctest/doctest.h>

using namespace troupe;

TEST_CASE("a log of refusals has a bound, and says what it left out") {
  std::vector<std::string> lines;
  refusal_log log([&](const log_line& line) { lines.push_back(line.message); });
  auto now = refusal_log::clock::now();
  for (int i = 0; i < 1'000; ++i)
    log.note("127.0.0.1:1: no Troupe node", now);
  CHECK(lines.size() == refusal_log::lines_max);
  now += refusal_log::window;
  log.note("127.0.0.1:2: another secret", now);
  REQUIRE(lines.size() == refusal_log::lines_max + 2);
  CHECK(lines[refusal_log::lines_max] == "990 more were turned away before that are not listed");
  CHECK(lines.back() == "127.0.0.1:2: another secret");
  now += refusal_log::window;
  log.note("127.0.0.1:3: another build", now);
  CHECK(lines.size() == refusal_log::lines_max + 3);
}
