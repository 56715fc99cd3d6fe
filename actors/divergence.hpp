#pragma once

#include <optional>
#include <string>

#include "actors/job.hpp"

namespace troupe {

/// What a report shows that only training that has diverged shows: a loss or a gradient that is not finite. Nothing
/// where all is well. For people: where it was seen, at what rate.
std::optional<std::string> divergence_in(const step_report& report);
std::optional<std::string> divergence_in(const evaluation_report& report);

/// What to try against it, of what these settings do not do yet.
std::string help_against_divergence(const job_settings& settings);

}  // namespace troupe
