#include <fstream>
#include <stdexcept>

#include "tests/fuzz/fuzz.hpp"
#include "tests/scratch_folder.hpp"

namespace troupe::fuzz {

const std::filesystem::path& scratch_folder() {
  static const troupe::scratch_folder folder;
  return folder.path();
}

std::filesystem::path scratch_file(std::string_view bytes, std::string_view name) {
  std::filesystem::path path = scratch_folder() / name;
  // A new file rather than the old one cut to nothing: the latter some file systems flush to disk at once.
  std::filesystem::remove(path);
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out.flush())
    throw std::runtime_error("cannot write " + path.string());
  return path;
}

}  // namespace troupe::fuzz
