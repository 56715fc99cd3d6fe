#pragma once

/// What this process holds of its machine, for tests of what is given back.

#include <malloc.h>

#include <cstddef>
#include <filesystem>
#include <iterator>

namespace troupe {

struct process_resources {
  std::size_t threads = 0;
  std::size_t descriptors = 0;
  std::size_t memory_bytes = 0;  ///< allocated and not freed
};

inline process_resources resources_now() {
  const auto entries = [](const char* folder) {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
  };
  const auto heap = mallinfo2();
  return {entries("/proc/self/task"), entries("/proc/self/fd"), heap.uordblks + heap.hblkhd};
}

}  // namespace troupe
