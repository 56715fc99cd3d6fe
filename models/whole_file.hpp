#pragma once

#include <filesystem>
#include <span>
#include <string_view>

namespace troupe {

/// Writes a file of these pieces, aside first: whoever looks finds the old one or the new one whole. Throws
/// system_error, with the cause, and leaves nothing aside.
void write_whole_file(const std::filesystem::path& path, std::span<const std::string_view> pieces);

inline void write_whole_file(const std::filesystem::path& path, std::string_view text) {
  write_whole_file(path, std::span(&text, 1));
}

}  // namespace troupe
