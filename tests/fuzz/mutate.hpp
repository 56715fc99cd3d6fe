#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace troupe::fuzz {

/// Input `index` of the sequence that `seed` names: one of `seeds` after a few random edits, or spliced with another.
/// A pure function, so that a failure is found again by its two numbers.
std::string mutated(const std::vector<std::string>& seeds, std::uint64_t seed, std::uint64_t index);

}  // namespace troupe::fuzz
