#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "tests/files.hpp"
#include "tests/scratch_folder.hpp"

namespace troupe {

inline std::filesystem::path write_file(const scratch_folder& folder, const std::string& name, std::string_view text) {
  const auto path = folder.path() / name;
  write_file(path, text);
  return path;
}

}  // namespace troupe
