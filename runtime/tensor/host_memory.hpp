#pragma once

#include <cstddef>

namespace troupe {

/// Memory from the system: aligned to 64 bytes; from 1 MiB up to pages; from 4 MiB up to 2 MiB with huge pages asked
/// for, which spares a training step most of its misses in the translation look-aside buffer. Contents unspecified.
/// Throws std::bad_alloc.
std::byte* allocate_host_memory(std::size_t size_bytes);

/// Gives back what `allocate_host_memory(size_bytes)` returned.
void free_host_memory(std::byte* memory, std::size_t size_bytes) noexcept;

}  // namespace troupe
