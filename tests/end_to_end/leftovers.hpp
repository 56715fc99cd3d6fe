#pragma once

/// What processes hold of their machine that could stay when they are gone: sockets, shared memory, files.

#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/end_to_end/cluster_run.hpp"

namespace troupe {

inline std::set<std::string> names_in(const std::filesystem::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.insert(entry.path().filename().string());
  return names;
}

/// Looks at the processes of a folder while they run, and then for what is left of them.
class leftovers {
 public:
  explicit leftovers(const scratch_folder& folder) : folder_(folder) {}

  /// Notes what the folder's processes hold now, which includes this many ports.
  void look(std::size_t ports_expected) {
    for (const auto id : processes_in(folder_)) {
      processes_.insert(std::to_string(id));
      std::error_code gone;
      for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", id), gone)) {
        const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
        if (const std::string kind = "socket:["; target.starts_with(kind))
          sockets_.insert(target.substr(kind.size(), target.size() - kind.size() - 1));
        note_shared(target);
      }
      for (const auto& mapping : rows_of(fmt::format("/proc/{}/maps", id)))
        note_shared(mapping.back());
    }
    std::size_t ports = 0;
    for (const auto* table : {"tcp", "tcp6"})
      for (const auto& row : rows_of(fmt::format("/proc/net/{}", table)))
        ports += row.size() > 9 && row[3] == "0A" && sockets_.contains(row[9]);
    CHECK(ports == ports_expected);
  }

  /// Waits a moment for what ends by itself.
  void require_none() const {
    constexpr std::chrono::seconds a_moment{10};
    CHECK(comes_true([&] { return processes_in(folder_).empty(); }, a_moment));
    CHECK(comes_true([&] { return sockets_left() == 0; }, a_moment));
    for (const auto& name : shared_)
      CHECK_MESSAGE(!std::filesystem::exists(name), name);
    for (const auto& row : rows_of("/proc/sysvipc/shm"))
      CHECK_MESSAGE(!processes_.contains(row.at(4)), "shared memory segment ", row.at(1));
  }

 private:
  static std::vector<std::vector<std::string>> rows_of(const std::string& file) {
    std::vector<std::vector<std::string>> rows;
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) {
      std::istringstream words(line);
      rows.emplace_back(std::istream_iterator<std::string>(words), std::istream_iterator<std::string>());
    }
    return rows;
  }

  void note_shared(const std::string& file) {
    if (file.starts_with("/dev/shm/") && !file.starts_with(folder_.path().string() + "/"))
      shared_.insert(file);
  }

  std::size_t sockets_left() const {
    std::size_t left = 0;
    const std::pair<const char*, std::size_t> tables[] = {{"tcp", 9}, {"tcp6", 9}, {"udp", 9}, {"udp6", 9}, {"unix", 6}};
    for (const auto& [table, column] : tables)
      for (const auto& row : rows_of(fmt::format("/proc/net/{}", table)))
        left += row.size() > column && sockets_.contains(row[column]);
    return left;
  }

  const scratch_folder& folder_;
  std::set<std::string> processes_, sockets_, shared_;  // ids, inodes and files, as /proc writes them
};

}  // namespace troupe
