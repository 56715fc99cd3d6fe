#pragma once

#include <filesystem>
#include <span>
#include <string_view>
#include <utility>

namespace troupe {

/// Writes a file of these pieces, aside first: whoever looks finds the old one or the new one whole. Throws
/// system_error, with the cause, and leaves nothing aside. `draft`: where aside is; empty: beside it, as `path`.partial.
void write_whole_file(const std::filesystem::path& path, std::span<const std::string_view> pieces,
                      std::filesystem::path draft = {});

inline void write_whole_file(const std::filesystem::path& path, std::string_view text, std::filesystem::path draft = {}) {
  write_whole_file(path, std::span(&text, 1), std::move(draft));
}

}  // namespace troupe
