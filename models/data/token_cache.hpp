#pragma once

/// A tokenised corpus as one file, made once and memory mapped by every run after.
///
/// Little-endian: a header of 128 bytes (`token_cache.cpp`), the serialized tokenizer, zeros up to a multiple of 64,
/// then the tokens, 2 bytes each where the vocabulary allows and else 4. Checksums cover the header and all after it.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>

#include "models/data/content_hash.hpp"
#include "models/data/token_stream.hpp"
#include "models/data/tokenizer.hpp"

namespace troupe {

struct tokenized_corpus {
  std::shared_ptr<const tokenizer> tokens;
  token_stream stream;
};

/// Throws input_error where the file is missing, torn, corrupt, of another version, or made under another key.
tokenized_corpus read_token_cache(const std::filesystem::path& path, const digest& key);

/// Writes aside and renames at the end: the file at `path` is whole or not there, whatever happens, and processes that
/// write the same file at once do the same work twice but do no harm. Of a writer that was killed nothing is left where
/// the file system knows files without a name (tmpfs, ext4, xfs, btrfs). Throws system_error where the disk fails.
class token_cache_writer {
 public:
  token_cache_writer(std::filesystem::path path, const digest& key, const tokenizer& tokens);
  /// Leaves nothing behind that was not published.
  ~token_cache_writer();
  token_cache_writer(const token_cache_writer&) = delete;
  token_cache_writer& operator=(const token_cache_writer&) = delete;

  /// REQUIRES: tokens are ids of the tokenizer.
  void append(std::span<const std::int32_t> tokens);
  void publish();

 private:
  void give_name();
  void write(const void* data, std::size_t size_bytes);
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path path_, aside_;  // aside_ is empty while the file has no name
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  digest key_;
  std::string kind_;
  std::size_t token_bytes_, tokenizer_bytes_;
  std::int64_t vocabulary_, count_ = 0;
  content_hash checksum_;
};

}  // namespace troupe
