#pragma once

/// The safetensors format, as specified at https://github.com/huggingface/safetensors: the header's size (8 bytes,
/// little-endian), a JSON header, then the tensors' bytes without gaps.

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "runtime/checkpoint/store.hpp"

namespace troupe {

struct safetensors {
  std::vector<named_tensor> tensors;            ///< in the order of their bytes; they map the file where it aligns them
  std::vector<std::string> unreadable;          ///< names of tensors whose element type we have none for, such as BOOL
  std::map<std::string, std::string> metadata;
};

/// Throws input_error naming file and fault: whatever is not as the format demands, overlaps, gaps and bytes after the
/// end included.
safetensors read_safetensors(const std::filesystem::path& file);

/// Writes a file, aside at first, with its tensors' bytes starting at a multiple of 64. Throws system_error.
void write_safetensors(const std::filesystem::path& file, std::span<const named_tensor> tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace troupe
