#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "models/data/dataset.hpp"
#include "tests/scratch_folder.hpp"

namespace troupe {

/// A folder to put corpora into.
class corpus_folder : public scratch_folder {
 public:
  std::string operator/(std::string_view name) const { return (path() / name).string(); }

  /// Makes the file, and the folders on its way; returns its path.
  std::string write(std::string_view name, std::string_view bytes) const {
    const std::filesystem::path file = path() / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << bytes;
    return file.string();
  }
};

inline data_settings settings_for(const std::string& path, const corpus_folder& folder) {
  data_settings settings;
  settings.path = path;
  settings.cache = folder / "cache";
  return settings;
}

/// All tokens of a split: one sample can hold them.
inline std::vector<std::int32_t> tokens_of(const dataset& data, split part) {
  const auto count = static_cast<std::size_t>(data.token_count(part));
  std::vector<std::int32_t> tokens(count - 1), targets(count - 1);
  data.sample(part, 0, 0, static_cast<std::int64_t>(count) - 1, tokens, targets);
  tokens.push_back(targets.back());
  return tokens;
}

inline std::string text_of(const dataset& data, split part) {
  return data.tokens()->decode(tokens_of(data, part));
}

}  // namespace troupe
