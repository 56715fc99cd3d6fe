#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "tests/scratch_folder.hpp"

namespace troupe {

inline std::filesystem::path write_file(const scratch_folder& folder, const std::string& name, std::string_view text) {
  const auto path = folder.path() / name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace troupe
