#pragma once

#include <string>
#include <vector>

#include "cli/run_file.hpp"

namespace troupe {

/// Throws usage_error, naming the key, where a cut's tensors would mean something else in the model `now`, though they fit.
void require_same_model(transformer_settings before, transformer_settings now);

/// What a resumed run does differently from the one whose cut it goes on from, `before`, and that changes what the
/// result means: a warning each. Throws usage_error for what cannot go on.
std::vector<std::string> check_resumed(const run_file& before, const run_file& now);

}  // namespace troupe
