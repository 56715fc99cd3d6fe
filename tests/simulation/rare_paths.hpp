#pragma once

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "runtime/probe.hpp"

namespace troupe {

/// A test of many seeds proves little about paths that none of them took: these were, since the last reset_probes.
inline void require_probes(const std::vector<const char*>& names) {
  auto counts = probe_counts();
  for (const auto* name : names) {
    MESSAGE(std::string(name), ": ", counts[name]);
    CHECK_MESSAGE(counts[name] > 0, name);
  }
}

}  // namespace troupe
