#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// The files that `pattern` names, in order: itself, what it matches as a shell pattern, or, where it is a folder, the
/// files in it that `in_folder` matches, such as "*.bin". Empty where there are none.
std::vector<std::string> matching_files(const std::string& pattern, std::string_view in_folder);

/// Whether a comma-separated list of shell patterns has one that matches the name.
bool matches_any(std::string_view patterns, const std::string& name);

}  // namespace troupe
