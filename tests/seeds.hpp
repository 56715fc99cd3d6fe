#pragma once

/// Runs a test for many seeds:
///
///   for_each_seed(300, [](std::uint64_t seed) { ... REQUIRE(...); });
///
/// TROUPE_SEED=N replays one seed; TROUPE_SEEDS=N tries that many (from TROUPE_SEED on, where that is set too). A
/// failure names its seed.

#include <cstdint>
#include <cstdlib>
#include <string>

#include <doctest/doctest.h>

namespace troupe {

inline std::uint64_t seed_from_environment(const char* variable, std::uint64_t otherwise) {
  const auto* text = std::getenv(variable);
  return text != nullptr && *text != '\0' ? std::stoull(text) : otherwise;
}

template <class Test>
void for_each_seed(std::uint64_t count, Test test) {
  const auto one = std::getenv("TROUPE_SEED") != nullptr;
  const auto first = seed_from_environment("TROUPE_SEED", 1);
  const auto last = first + seed_from_environment("TROUPE_SEEDS", one ? 1 : count);
  for (auto seed = first; seed < last; ++seed) {
    INFO("seed ", seed, "; replay it with TROUPE_SEED=", seed);
    test(seed);
  }
}

}  // namespace troupe
