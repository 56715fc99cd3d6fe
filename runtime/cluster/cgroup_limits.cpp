#include "runtime/cluster/cgroup_limits.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

namespace troupe {

namespace fs = std::filesystem;

namespace {

/// Version 1 writes "no limit" as the largest multiple of a page.
constexpr std::uint64_t unlimited_bytes = std::uint64_t{1} << 60;

template <class T>
void tighten(std::optional<T>& limit, T value) {
  limit = limit ? std::min(*limit, value) : value;
}

std::optional<std::int64_t> to_number(std::string_view text) {
  std::int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  return error == std::errc{} && rest == end ? std::optional(number) : std::nullopt;
}

/// The words of a file's first line, up to two.
std::pair<std::string, std::string> read_words(const fs::path& file) {
  std::ifstream stream(file);
  std::pair<std::string, std::string> words;
  stream >> words.first >> words.second;
  return words;
}

void add_quota(cgroup_limits& limits, std::string_view quota, std::string_view period) {
  const auto time = to_number(quota);
  const auto of = to_number(period);
  if (time && of && *time > 0 && *of > 0)
    tighten(limits.cores, static_cast<double>(*time) / static_cast<double>(*of));
}

void add_memory(cgroup_limits& limits, std::string_view bytes) {
  if (const auto number = to_number(bytes); number && *number > 0)
    if (static_cast<std::uint64_t>(*number) < unlimited_bytes)
      tighten(limits.memory_bytes, static_cast<std::uint64_t>(*number));
}

void add_folder(cgroup_limits& limits, const fs::path& folder) {
  const auto [quota, period] = read_words(folder / "cpu.max");
  add_quota(limits, quota, period);
  add_quota(limits, read_words(folder / "cpu.cfs_quota_us").first, read_words(folder / "cpu.cfs_period_us").first);
  add_memory(limits, read_words(folder / "memory.max").first);
  add_memory(limits, read_words(folder / "memory.limit_in_bytes").first);
}

/// A group is limited by all above it. In a container the path may be the host's, of which only the end is mounted,
/// as the mount's own folder.
void add_path(cgroup_limits& limits, const fs::path& mount, const fs::path& group) {
  for (auto path = group.relative_path(); !path.empty(); path = path.parent_path())
    add_folder(limits, mount / path);
  add_folder(limits, mount);
}

}  // namespace

cgroup_limits read_cgroup_limits(const fs::path& root) {
  cgroup_limits limits;
  const auto mounts = root / "sys/fs/cgroup";
  std::ifstream groups(root / "proc/self/cgroup");
  // Lines such as "0::/user.slice" (version 2) and "4:cpu,cpuacct:/docker/3f2a" (version 1).
  for (std::string line; std::getline(groups, line);) {
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos)
      continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    const fs::path group = line.substr(second + 1);
    if (controllers.empty()) {
      add_path(limits, mounts, group);
      continue;
    }
    add_path(limits, mounts / controllers, group);
    std::istringstream names(controllers);
    for (std::string name; std::getline(names, name, ',');)
      add_path(limits, mounts / name, group);
  }
  return limits;
}

}  // namespace troupe
