#include "runtime/checkpoint/mapped_file.hpp"

#include <cerrno>
#include <cstdint>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "runtime/error.hpp"

namespace troupe {

namespace {

[[noreturn]] void throw_errno(const std::filesystem::path& file, int error) {
  const auto message = fmt::format("{}: cannot be read: {}", file.string(), std::strerror(error));
  // Short of descriptors or memory, the file may be as good as any.
  if (error == EMFILE || error == ENFILE || error == ENOMEM || error == EAGAIN)
    throw system_error(message);
  throw input_error(message);
}

}  // namespace

std::shared_ptr<mapped_file> mapped_file::open(const std::filesystem::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    throw_errno(file, errno);
  struct stat status {};
  int error = ::fstat(descriptor, &status) == 0 ? 0 : errno;
  if (error == 0 && !S_ISREG(status.st_mode))
    error = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
  const auto size = static_cast<std::size_t>(status.st_size);
  void* address = nullptr;
  if (error == 0 && size > 0) {
    address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
    if (address == MAP_FAILED)
      error = errno;
  }
  ::close(descriptor);
  if (error != 0)
    throw_errno(file, error);
  return std::shared_ptr<mapped_file>(new mapped_file(static_cast<std::byte*>(address), size));
}

mapped_file::~mapped_file() {
  if (data_)
    ::munmap(data_, size_bytes_);
}

void populate(std::span<const std::byte> range) noexcept {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<std::uintptr_t>(range.data()) & ~(page - 1);
  const auto last = reinterpret_cast<std::uintptr_t>(range.data()) + range.size();
#ifdef MADV_POPULATE_READ
  ::madvise(reinterpret_cast<void*>(first), last - first, MADV_POPULATE_READ);
#else
  ::madvise(reinterpret_cast<void*>(first), last - first, MADV_WILLNEED);
#endif
}

}  // namespace troupe
