#pragma once

/// What a fuzz target is: two functions over the bytes that some reader takes from outside. The driver does the rest.
///
///     std::vector<std::string> troupe::fuzz::seeds() { return {valid_file()}; }
///     void troupe::fuzz::read(std::string_view bytes) { parse_my_format(bytes); }

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::fuzz {

/// Valid inputs that mutation starts from, made without randomness; `read` must accept each as it is. The more of
/// the format's features they show and the smaller they are, the deeper mutation gets.
std::vector<std::string> seeds();

/// Gives `bytes` to the reader, and uses what it returns as a caller would. The right answer to bad bytes is an
/// input_error; any other exception, a crash, a hang, or an allocation out of proportion is a failure.
void read(std::string_view bytes);

/// Writes `bytes` to a file of that name in a folder of this process, for readers that take a path. The next call
/// with the same name replaces it; the folder goes when the process ends.
std::filesystem::path scratch_file(std::string_view bytes, std::string_view name = "input");

/// The folder that `scratch_file` writes to.
const std::filesystem::path& scratch_folder();

}  // namespace troupe::fuzz
