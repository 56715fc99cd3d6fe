#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "runtime/tensor/buffer.hpp"

namespace troupe {

/// A file in memory. The mapping is private: writing to it changes no file, and the file may be removed while it is
/// mapped. It must not be truncated meanwhile; files of a cut never are.
class mapped_file final : public buffer {
 public:
  /// Throws input_error where the file is missing, cannot be read or is no regular file; system_error where the system
  /// lacks something.
  static std::shared_ptr<mapped_file> open(const std::filesystem::path& file);
  ~mapped_file() override;

  std::span<const std::byte> bytes() const noexcept { return {data_, size_bytes_}; }
  std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data_), size_bytes_}; }

 private:
  using buffer::buffer;
};

/// Brings mapped pages in with one call, which is faster than a fault for each few of them.
void populate(std::span<const std::byte> range) noexcept;

}  // namespace troupe
