#include "models/data/path_pattern.hpp"

#include <fnmatch.h>
#include <glob.h>

#include <algorithm>
#include <filesystem>

namespace troupe {

std::vector<std::string> matching_files(const std::string& pattern, std::string_view in_folder) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (fs::is_regular_file(pattern, ignored))  // whose name may hold brackets
    return {pattern};
  const std::string wanted = fs::is_directory(pattern, ignored) ? (fs::path(pattern) / in_folder).string() : pattern;
  glob_t found{};
  std::vector<std::string> paths;
  if (glob(wanted.c_str(), 0, nullptr, &found) == 0)
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  std::sort(paths.begin(), paths.end());  // by bytes: glob's own order depends on the locale
  return paths;
}

bool matches_any(std::string_view patterns, const std::string& name) {
  for (std::size_t begin = 0; begin <= patterns.size();) {
    const std::size_t end = std::min(patterns.find(',', begin), patterns.size());
    std::string_view pattern = patterns.substr(begin, end - begin);
    pattern.remove_prefix(std::min(pattern.find_first_not_of(' '), pattern.size()));
    pattern = pattern.substr(0, pattern.find_last_not_of(' ') + 1);
    if (fnmatch(std::string(pattern).c_str(), name.c_str(), 0) == 0)
      return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace troupe
