#pragma once

#include <string>
#include <vector>

#include "cli/run_file.hpp"

namespace troupe {

/// What a resumed run does differently from the one whose cut it goes on from, `before`, and that changes what the
/// result means: a warning each. Throws usage_error for what cannot go on.
std::vector<std::string> check_resumed(const run_file& before, const run_file& now);

}  // namespace troupe
