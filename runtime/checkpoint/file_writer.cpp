#include "runtime/checkpoint/file_writer.hpp"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "runtime/error.hpp"

namespace troupe {

namespace {

[[noreturn]] void throw_failure(const char* doing, const std::filesystem::path& where, int error) {
  throw system_error(fmt::format("{}: cannot {}: {}", where.string(), doing, std::strerror(error)));
}

void notify(const write_hook& hook, write_step step, const std::filesystem::path& subject) {
  if (hook)
    hook(step, subject);
}

}  // namespace

file_writer::file_writer(std::filesystem::path file, std::uint64_t size_bytes, write_hook hook)
    : file_(std::move(file)),
      hook_(std::move(hook)),
      size_bytes_(size_bytes),
      block_(make_host_buffer(block_bytes)) {  // large enough to be of whole pages
  notify(hook_, write_step::create_file, file_);
  constexpr int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
  descriptor_ = ::open(file_.c_str(), flags | O_DIRECT, 0644);
  if (descriptor_ < 0 && errno == EINVAL)  // a file system without O_DIRECT, such as tmpfs
    descriptor_ = ::open(file_.c_str(), flags, 0644);
  if (descriptor_ < 0)
    throw_failure("create", file_, errno);
  if (::fallocate(descriptor_, 0, 0, static_cast<off_t>(size_bytes_)) != 0 && errno != EOPNOTSUPP) {
    const int error = errno;
    ::close(descriptor_);
    ::unlink(file_.c_str());
    throw_failure("reserve space for", file_, error);
  }
}

file_writer::~file_writer() {
  if (descriptor_ < 0)
    return;
  ::close(descriptor_);
  ::unlink(file_.c_str());
}

void file_writer::append(std::span<const std::byte> bytes) {
  offset_ += bytes.size();
  while (!bytes.empty()) {
    const auto part = std::min(bytes.size(), block_bytes - filled_);
    std::memcpy(block_->data() + filled_, bytes.data(), part);
    filled_ += part;
    bytes = bytes.subspan(part);
    if (filled_ == block_bytes)
      write_block();
  }
}

void file_writer::write_block() {
  notify(hook_, write_step::write_block, file_);
  for (std::size_t done = 0; done < filled_;) {
    const auto written = ::write(descriptor_, block_->data() + done, filled_ - done);
    if (written >= 0) {
      done += static_cast<std::size_t>(written);
    } else if (errno == EINVAL && (::fcntl(descriptor_, F_GETFL) & O_DIRECT) != 0) {
      // A device with larger granules than ours, or the rest of a short write: go on through the page cache.
      ::fcntl(descriptor_, F_SETFL, ::fcntl(descriptor_, F_GETFL) & ~O_DIRECT);
    } else if (errno != EINTR) {
      throw_failure("write", file_, errno);
    }
  }
  filled_ = 0;
}

void file_writer::finish(bool flush) {
  assert(offset_ % granule_bytes == 0 && offset_ == size_bytes_);
  if (filled_ > 0)
    write_block();
  if (flush) {
    notify(hook_, write_step::sync_file, file_);
    if (::fsync(descriptor_) != 0)
      throw_failure("flush", file_, errno);
  }
  if (::close(std::exchange(descriptor_, -1)) != 0) {
    const int error = errno;
    ::unlink(file_.c_str());
    throw_failure("close", file_, error);
  }
}

void sync_directory(const std::filesystem::path& directory, const write_hook& hook) {
  notify(hook, write_step::sync_directory, directory);
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0)
    throw_failure("open", directory, errno);
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  if (error != 0 && error != EINVAL)  // EINVAL: a file system that cannot flush directories
    throw_failure("flush", directory, error);
}

void rename_path(const std::filesystem::path& from, const std::filesystem::path& to, const write_hook& hook) {
  notify(hook, write_step::rename, from);
  if (::rename(from.c_str(), to.c_str()) != 0)
    throw_failure("rename", from, errno);
}

std::filesystem::path replace_directory(const std::filesystem::path& from, const std::filesystem::path& to,
                                        const write_hook& hook) {
  notify(hook, write_step::rename, from);
  if (::rename(from.c_str(), to.c_str()) == 0)
    return {};
  if (errno != ENOTEMPTY && errno != EEXIST)
    throw_failure("rename", from, errno);
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0)
    return from;
  const auto replaced = hide_directory(to, hook);
  rename_path(from, to, hook);
  return replaced;
}

std::filesystem::path hide_directory(const std::filesystem::path& directory, const write_hook& hook) {
  const auto hidden = directory.parent_path() / (".removing-" + directory.filename().string());
  std::error_code ignored;
  std::filesystem::remove_all(hidden, ignored);
  rename_path(directory, hidden, hook);
  return hidden;
}

void remove_directory(const std::filesystem::path& directory, const write_hook& hook) {
  notify(hook, write_step::remove, directory);
  std::error_code error;
  std::filesystem::remove_all(directory, error);
  if (error)
    throw_failure("remove", directory, error.value());
}

}  // namespace troupe
