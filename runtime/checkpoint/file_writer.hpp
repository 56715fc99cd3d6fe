#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>

#include "runtime/tensor/buffer.hpp"

namespace troupe {

/// A step of writing that a crash may come before.
enum class write_step : std::uint8_t {
  make_directory,
  create_file,
  write_block,
  sync_file,
  rename,
  sync_directory,
  remove,
};

/// Called before each step with the file or directory it acts on (what is renamed, not its new name). A test can stop
/// the process there, and lose what was not flushed.
using write_hook = std::function<void(write_step, const std::filesystem::path&)>;

/// Writes a file from start to end. Blocks go past the page cache where the file system allows it (O_DIRECT), which on
/// local disks is two to three times as fast as writing and flushing cached pages, and leaves the cache to others.
class file_writer {
 public:
  /// Bytes written by one call, and what the file's size is a multiple of.
  static constexpr std::size_t block_bytes = std::size_t{4} << 20;
  static constexpr std::size_t granule_bytes = 4096;

  /// Creates or replaces `file`; `size_bytes` are reserved on the disk, so that a full one is noticed here. All
  /// members throw system_error naming the file and the fault.
  file_writer(std::filesystem::path file, std::uint64_t size_bytes, write_hook hook);
  /// A file that was not finished is removed.
  ~file_writer();
  file_writer(const file_writer&) = delete;
  file_writer& operator=(const file_writer&) = delete;

  std::uint64_t offset() const noexcept { return offset_; }
  void append(std::span<const std::byte> bytes);
  /// REQUIRES: offset() is a multiple of granule_bytes and equals the size given.
  void finish(bool flush);

 private:
  void write_block();

  std::filesystem::path file_;
  write_hook hook_;
  int descriptor_ = -1;
  std::uint64_t size_bytes_;
  std::uint64_t offset_ = 0;
  buffer_ptr block_;
  std::size_t filled_ = 0;
};

/// fsync of a directory: makes what was created, renamed or removed in it last.
void sync_directory(const std::filesystem::path& directory, const write_hook& hook);

void rename_path(const std::filesystem::path& from, const std::filesystem::path& to, const write_hook& hook);

/// Renames directory `from` to `to`. Returns the path at which what stood at `to` is found now; empty: nothing
/// stood there.
/// Where the file system can exchange the two, nobody ever finds `to` missing.
std::filesystem::path replace_directory(const std::filesystem::path& from, const std::filesystem::path& to,
                                        const write_hook& hook);

/// Gives a directory a name that begins with a dot, so that nobody finds it half removed; returns its new path.
std::filesystem::path hide_directory(const std::filesystem::path& directory, const write_hook& hook);

/// Removes a directory and what is in it.
void remove_directory(const std::filesystem::path& directory, const write_hook& hook);

}  // namespace troupe
