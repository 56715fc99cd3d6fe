#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "actors/job_memory.hpp"

namespace troupe {

/// Why a job of this prediction does not fit into `memory_bytes` of a machine, by how much, and what to change; nothing
/// where it does, or where the machine's memory is not known (0).
std::optional<std::string> memory_shortage(const job_memory& predicted, std::size_t memory_bytes);

}  // namespace troupe
