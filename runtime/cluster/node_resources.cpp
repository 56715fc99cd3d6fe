#include "runtime/cluster/node_resources_json.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "runtime/cluster/build_id.hpp"
#include "runtime/cluster/cgroup_limits.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

constexpr std::size_t text_bytes_max = 255;
constexpr std::size_t devices_max = 64;
constexpr double cores_max = 65'536.0;
constexpr std::uint64_t memory_bytes_max = std::uint64_t{1} << 60;
constexpr std::uint32_t process_id_max = 1u << 22;  // the kernel's own bound

double affine_cores() {
  // Large enough for machines that a fixed cpu_set_t is not.
  constexpr int processors_max = 65'536;
  auto* const set = CPU_ALLOC(processors_max);
  const auto bytes = CPU_ALLOC_SIZE(processors_max);
  const bool known = set != nullptr && sched_getaffinity(0, bytes, set) == 0;
  const auto count = known ? static_cast<unsigned>(CPU_COUNT_S(bytes, set)) : std::thread::hardware_concurrency();
  CPU_FREE(set);
  return std::max(1u, count);
}

std::uint64_t machine_memory_bytes() {
  const auto pages = sysconf(_SC_PHYS_PAGES);
  const auto page_bytes = sysconf(_SC_PAGESIZE);
  return pages > 0 && page_bytes > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes) : 0;
}

std::string host_name() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  return gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data() : "localhost";
}

[[noreturn]] void refuse(std::string_view key, const nlohmann::json& found, std::string_view expected) {
  // Whatever the bytes are, the message is short and can be printed; and no depth of nesting exhausts the stack.
  auto text = found.is_structured() ? fmt::format("an {}", found.type_name())
                                    : found.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > 60)
    text = text.substr(0, 60) + "...";
  throw input_error(fmt::format("resources of a node: '{}' is {}; expected {}", key, text, expected));
}

std::string read_text(std::string_view key, const nlohmann::json& value) {
  const auto printable = [](char c) { return c >= ' ' && c <= '~'; };
  if (const auto* text = value.get_ptr<const std::string*>())
    if (!text->empty() && text->size() <= text_bytes_max && std::all_of(text->begin(), text->end(), printable))
      return *text;
  refuse(key, value, fmt::format("1 to {} printable characters", text_bytes_max));
}

std::uint64_t read_count(std::string_view key, const nlohmann::json& value, std::uint64_t first, std::uint64_t last) {
  if (value.is_number_unsigned())
    if (const auto number = value.get<std::uint64_t>(); number >= first && number <= last)
      return number;
  refuse(key, value, fmt::format("a whole number from {} to {}", first, last));
}

double read_cores(const nlohmann::json& value) {
  if (value.is_number())
    if (const auto number = value.get<double>(); number > 0.0 && number <= cores_max)
      return number;
  refuse("cores", value, fmt::format("a number above 0, at most {}", cores_max));
}

std::vector<std::string> read_devices(const nlohmann::json& value) {
  if (!value.is_array() || value.empty() || value.size() > devices_max)
    refuse("devices", value, fmt::format("a list of 1 to {} names", devices_max));
  std::vector<std::string> devices;
  for (const auto& each : value)
    devices.push_back(read_text("devices", each));
  return devices;
}

}  // namespace

node_resources this_node() {
  const auto limits = read_cgroup_limits();
  node_resources result;
  result.host = host_name();
  result.process_id = static_cast<std::uint32_t>(getpid());
  result.build = build_id();
  result.cores = std::min(affine_cores(), limits.cores.value_or(cores_max));
  result.memory_bytes = machine_memory_bytes();
  if (limits.memory_bytes && (result.memory_bytes == 0 || *limits.memory_bytes < result.memory_bytes))
    result.memory_bytes = *limits.memory_bytes;
  return result;
}

nlohmann::json to_json(const node_resources& resources) {
  return {{"host", resources.host},
          {"process_id", resources.process_id},
          {"build", resources.build},
          {"cores", resources.cores},
          {"memory_bytes", resources.memory_bytes},
          {"devices", resources.devices}};
}

node_resources node_resources_from_json(const nlohmann::json& object) {
  constexpr std::array<std::string_view, 6> keys{"host", "process_id", "build", "cores", "memory_bytes", "devices"};
  if (!object.is_object())
    throw input_error(fmt::format("resources of a node: found a JSON {}; expected an object", object.type_name()));
  for (const auto key : keys)
    if (!object.contains(key))
      throw input_error(fmt::format("resources of a node: '{}' is missing", key));
  for (const auto& [key, value] : object.items())
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      refuse(nlohmann::json(key.substr(0, 40)).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace), value,
             "no such key");
  node_resources result;
  result.host = read_text("host", object["host"]);
  result.process_id = static_cast<std::uint32_t>(read_count("process_id", object["process_id"], 1, process_id_max));
  result.build = read_text("build", object["build"]);
  result.cores = read_cores(object["cores"]);
  result.memory_bytes = read_count("memory_bytes", object["memory_bytes"], 0, memory_bytes_max);
  result.devices = read_devices(object["devices"]);
  return result;
}

}  // namespace troupe
