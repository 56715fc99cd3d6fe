#pragma once

#include <cstddef>

#include "actors/job_settings.hpp"
#include "models/transformer.hpp"

namespace troupe {

/// What this process would hold besides `job_memory` while it runs such a job: code, the data it has mapped, threads
/// with their stacks and heaps, what the library of matrix products packs operands into. Found by running two steps of
/// the job with one layer and few tokens to predict from, whose tensors do not count; of a tiny one where that is
/// large.
std::size_t measure_process_bytes(transformer_settings shape, job_settings settings);

}  // namespace troupe
