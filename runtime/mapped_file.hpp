#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>

namespace troupe {

/// A regular file's bytes, mapped read-only. Immutable; thread safe. Whoever replaces such a file must do it by rename:
/// cutting it short while it is mapped kills its readers (SIGBUS).
class mapped_file {
 public:
  /// Throws input_error where no regular file stands at `path`, system_error where it cannot be read.
  explicit mapped_file(const std::filesystem::path& path);
  ~mapped_file();
  mapped_file(const mapped_file&) = delete;
  mapped_file& operator=(const mapped_file&) = delete;

  /// Aligned to a page; empty for an empty file.
  std::string_view bytes() const noexcept { return {data_, size_bytes_}; }

 private:
  const char* data_ = nullptr;
  std::size_t size_bytes_ = 0;
};

}  // namespace troupe
