#include "runtime/probe.hpp"

#include <mutex>

namespace troupe {

namespace {

std::mutex mutex;
std::map<std::string, std::uint64_t> counts;

}  // namespace

std::atomic<bool> detail::probes_on{false};

void detail::count_probe(const char* name) {
  const std::lock_guard guard{mutex};
  ++counts[name];
}

void reset_probes() {
  const std::lock_guard guard{mutex};
  counts.clear();
  detail::probes_on = true;
}

std::map<std::string, std::uint64_t> probe_counts() {
  const std::lock_guard guard{mutex};
  return counts;
}

}  // namespace troupe
