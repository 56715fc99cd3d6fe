#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "runtime/checkpoint/checksum.hpp"
#include "runtime/checkpoint/file_writer.hpp"
#include "runtime/checkpoint/mapped_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

/// What a file is. Values are part of the format.
enum class file_kind : std::uint32_t { manifest = 0, shard = 1, journal = 2 };

/// "a manifest"
const char* describe(file_kind kind) noexcept;

/// Alignment of tensors and of the message in a file.
inline constexpr std::uint64_t tensor_alignment = 64;

constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) noexcept {
  return (value + alignment - 1) / alignment * alignment;
}

/// An input_error that says what is wrong with a file.
input_error faulty(const std::filesystem::path& file, const std::string& fault);

/// Size of a file with so large a payload (a multiple of tensor_alignment) and message.
std::uint64_t sealed_size(std::uint64_t payload_bytes, std::uint64_t message_bytes) noexcept;

/// Ends a file whose payload was appended to `out`: message, zeros, footer. Returns the message's checksum.
checksum seal(file_writer& out, file_kind kind, std::span<const std::byte> message, bool flush);

/// A file whose footer and message were verified; its payload was not.
struct sealed_file {
  std::shared_ptr<mapped_file> mapping;
  std::uint64_t payload_bytes = 0;
  std::span<const std::byte> message;  ///< aligned to tensor_alignment
  checksum message_checksum;

  /// Throws input_error.
  static sealed_file open(const std::filesystem::path& file, file_kind kind);
};

}  // namespace troupe
