#pragma once

#include "actors/job_context.hpp"
#include "runtime/cluster/protocol.hpp"

namespace troupe {

/// Builds, on a node, what the head built from the run file: the same model on the same data. Throws input_error where
/// this node cannot: it lacks the data, or has other data at the same path.
job_context_ptr prepare_job_context(const std::vector<job_document>& documents);

}  // namespace troupe
