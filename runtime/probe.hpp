#pragma once

/// Probes mark rare paths, so that a simulation can require that they were taken. After FoundationDB's code probes.

#include <atomic>
#include <cstdint>
#include <map>
#include <string>

namespace troupe {

namespace detail {
extern std::atomic<bool> probes_on;
void count_probe(const char* name);
}  // namespace detail

/// Counts a visit while counting is on. Otherwise it costs one load, so not for inner loops.
inline void probe(const char* name) {
  if (detail::probes_on.load(std::memory_order_relaxed))
    detail::count_probe(name);
}

/// Starts counting from nothing.
void reset_probes();
/// Visits since, by name. Thread-safe.
std::map<std::string, std::uint64_t> probe_counts();

}  // namespace troupe
