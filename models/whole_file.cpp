#include "models/whole_file.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>

#include "runtime/error.hpp"

namespace troupe {

namespace {

/// 0, or what errno says of the first failure.
int write_pieces(const std::filesystem::path& path, std::span<const std::string_view> pieces) {
  std::FILE* file = std::fopen(path.c_str(), "wbe");
  if (!file)
    return errno;
  int fault = 0;
  for (const auto piece : pieces)
    if (fault == 0 && std::fwrite(piece.data(), 1, piece.size(), file) != piece.size())
      fault = errno;
  if (std::fclose(file) != 0 && fault == 0)
    fault = errno;
  return fault;
}

}  // namespace

void write_whole_file(const std::filesystem::path& path, std::span<const std::string_view> pieces,
                      std::filesystem::path draft) {
  if (draft.empty())
    draft = path.string() + ".partial";
  int fault = write_pieces(draft, pieces);
  if (fault == 0 && std::rename(draft.c_str(), path.c_str()) != 0)
    fault = errno;
  if (fault == 0)
    return;
  std::remove(draft.c_str());
  throw system_error(fmt::format("{}: cannot be written: {}", path.string(), std::strerror(fault)));
}

}  // namespace troupe
