#pragma once

/// The messages of a checkpoint's files, and of a run's journal, as structs. The format is described in runtime/wire/checkpoint.capnp.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/checkpoint/checksum.hpp"
#include "runtime/checkpoint/cut_id.hpp"
#include "runtime/checkpoint/store.hpp"

namespace troupe {

struct shard_file_entry {
  std::uint64_t size_bytes = 0;
  checksum message;
};

struct manifest_message {
  cut_manifest about;
  std::vector<shard_file_entry> shards;
};

struct tensor_entry {
  std::string name;
  dtype type = dtype::float32;
  shape extents;
  std::uint64_t offset = 0;
  std::uint64_t size_bytes = 0;
  checksum sum;
};

struct shard_message {
  std::uint32_t shard = 0;
  std::uint64_t step = 0;
  std::uint64_t version = 0;
  std::vector<lane_progress> applied;
  std::vector<tensor_entry> tensors;
};

struct journal_message {
  std::string run;
  std::string head;
  std::uint64_t epoch = 0;
  std::optional<cut_id> in_memory;
};

std::vector<std::byte> encode(const manifest_message& value);
std::vector<std::byte> encode(const shard_message& value);
std::vector<std::byte> encode(const journal_message& value);

/// REQUIRES: `message` is aligned to 8 bytes. Throw input_error that names `file`. What they return is consistent in
/// itself: tensors lie one after the other from 0 to `payload_bytes`, each as large as its type and shape say.
manifest_message decode_manifest(std::span<const std::byte> message, const std::filesystem::path& file);
shard_message decode_shard(std::span<const std::byte> message, std::uint64_t payload_bytes,
                           const std::filesystem::path& file);
journal_message decode_journal(std::span<const std::byte> message, const std::filesystem::path& file);

/// "shard-0000.bin".
std::string shard_file_name(std::uint32_t shard);
inline constexpr const char* manifest_file_name = "manifest.bin";

}  // namespace troupe
