#include "runtime/mapped_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/error.hpp"

namespace troupe {

mapped_file::mapped_file(const std::filesystem::path& path) {
  const auto failed = [&](const char* what) {
    return system_error(fmt::format("{}: cannot {}: {}", path.string(), what, std::strerror(errno)));
  };
  // Without O_NONBLOCK, opening a pipe would wait for its writer.
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) {
    if (errno == ENOENT || errno == ENOTDIR)
      throw input_error(fmt::format("{}: no such file", path.string()));
    throw failed("open the file");
  }
  struct closer {
    int file;
    ~closer() { close(file); }
  } const closes{file};
  struct stat status {};
  if (fstat(file, &status) != 0)
    throw failed("ask for the file's size");
  if (!S_ISREG(status.st_mode))
    throw input_error(fmt::format("{}: expected a file, found a folder or a device", path.string()));
  size_bytes_ = static_cast<std::size_t>(status.st_size);
  if (size_bytes_ == 0)
    return;
  void* data = mmap(nullptr, size_bytes_, PROT_READ, MAP_SHARED, file, 0);
  if (data == MAP_FAILED)
    throw failed("map the file");
  data_ = static_cast<const char*>(data);
}

mapped_file::~mapped_file() {
  if (data_)
    munmap(const_cast<char*>(data_), size_bytes_);
}

}  // namespace troupe
