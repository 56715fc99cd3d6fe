#include "runtime/cluster/node_resources_json.hpp"

#include <sched.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "runtime/cluster/build_id.hpp"
#include "runtime/cluster/cgroup_limits.hpp"
#include "runtime/error.hpp"
#include "tests/scratch_folder.hpp"

using namespace troupe;
using nlohmann::json;

namespace {

struct fake_root {
  scratch_folder folder;

  void put(const std::string& path, const std::string& text) const {
    const auto file = folder.path() / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  cgroup_limits limits() const { return read_cgroup_limits(folder.path()); }
};

node_resources example() {
  node_resources result;
  result.host = "node-7.example.org";
  result.process_id = 4'711;
  result.build = "troupe 0.1.0 0123456789ab";
  result.cores = 3.5;
  result.memory_bytes = std::uint64_t{6} << 30;
  result.devices = {"cpu", "cuda"};
  return result;
}

/// The message with which an object is refused that differs from a good one in `key`.
std::string refusal(const std::string& key, const json& value) {
  auto object = to_json(example());
  object[key] = value;
  try {
    node_resources_from_json(object);
  } catch (const input_error& fault) {
    return fault.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("this node offers what this process may use") {
  const auto found = this_node();
  cpu_set_t set;
  REQUIRE(sched_getaffinity(0, sizeof set, &set) == 0);
  CHECK(found.cores > 0.0);
  CHECK(found.cores <= CPU_COUNT(&set));
  CHECK(found.memory_bytes > 0);
  CHECK(found.process_id == static_cast<std::uint32_t>(getpid()));
  CHECK(!found.host.empty());
  CHECK(found.build == build_id());
  CHECK(found.devices == std::vector<std::string>{"cpu"});
  CHECK(node_resources_from_json(json::parse(to_json(found).dump())) == found);
}

TEST_CASE("fewer cores by affinity are fewer cores offered") {
  cpu_set_t before, one;
  REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
  CPU_ZERO(&one);
  for (int processor = 0; CPU_COUNT(&one) == 0; ++processor)
    if (CPU_ISSET(processor, &before))
      CPU_SET(processor, &one);
  REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
  CHECK(this_node().cores <= 1.0);
  sched_setaffinity(0, sizeof before, &before);
}

TEST_CASE("the build's name holds the version and digits of the binary") {
  const auto name = build_id();
  CHECK(name.starts_with("troupe "));
  const auto digits = name.substr(name.rfind(' ') + 1);
  CHECK(digits.size() == 12);
  CHECK(digits.find_first_not_of("0123456789abcdef") == std::string::npos);
  // What no note at all would give: the checksum of nothing.
  CHECK(digits != "99aa06d30147");
}

TEST_CASE_FIXTURE(fake_root, "limits of version 2 are the tightest on the way up") {
  put("proc/self/cgroup", "0::/kube/pod/container\n");
  put("sys/fs/cgroup/kube/pod/container/cpu.max", "400000 100000\n");
  put("sys/fs/cgroup/kube/pod/cpu.max", "250000 100000\n");
  put("sys/fs/cgroup/kube/cpu.max", "max 100000\n");
  put("sys/fs/cgroup/kube/pod/container/memory.max", "max\n");
  put("sys/fs/cgroup/kube/memory.max", "8589934592\n");
  CHECK(limits().cores == 2.5);
  CHECK(limits().memory_bytes == std::uint64_t{8} << 30);
}

TEST_CASE_FIXTURE(fake_root, "limits of version 1 are found by controller, in the mount's own folder as well") {
  put("proc/self/cgroup", "4:cpu,cpuacct:/docker/3f2a\n3:memory:/docker/3f2a\n0::/\n");
  put("sys/fs/cgroup/cpu/docker/3f2a/cpu.cfs_quota_us", "-1\n");
  put("sys/fs/cgroup/cpu/docker/3f2a/cpu.cfs_period_us", "100000\n");
  put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "150000\n");
  put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
  put("sys/fs/cgroup/memory/docker/3f2a/memory.limit_in_bytes", "9223372036854771712\n");
  CHECK(limits().cores == 1.5);
  CHECK(limits().memory_bytes == std::uint64_t{1} << 30);
}

TEST_CASE_FIXTURE(fake_root, "what cannot be read limits nothing") {
  CHECK(!limits().cores);
  CHECK(!limits().memory_bytes);
  put("proc/self/cgroup", "nonsense\n::\n1:x\n0::/../..\n");
  put("sys/fs/cgroup/cpu.max", "many 0\n");
  put("sys/fs/cgroup/memory.max", "-5\n");
  CHECK(!limits().cores);
  CHECK(!limits().memory_bytes);
}

TEST_CASE("resources survive their way through JSON") {
  CHECK(node_resources_from_json(json::parse(to_json(example()).dump())) == example());
}

TEST_CASE("what a stranger sends is refused by key, value and expectation") {
  CHECK(refusal("cores", -3) == "resources of a node: 'cores' is -3; expected a number above 0, at most 65536");
  CHECK(refusal("process_id", 0) ==
        "resources of a node: 'process_id' is 0; expected a whole number from 1 to 4194304");
  CHECK(refusal("host", "") == "resources of a node: 'host' is \"\"; expected 1 to 255 printable characters");
  for (const auto& [key, value] : std::vector<std::pair<std::string, json>>{
         {"cores", 0}, {"cores", "2"}, {"cores", 1e9}, {"cores", nullptr}, {"memory_bytes", -1},
         {"memory_bytes", 1.5}, {"memory_bytes", std::uint64_t{1} << 61}, {"process_id", std::uint64_t{1} << 40},
         {"host", "two\nlines"}, {"host", "\x1b[2J"}, {"host", std::string(256, 'a')}, {"build", json::array()},
         {"devices", json::array()}, {"devices", "cpu"}, {"devices", {1}}, {"devices", json(65, "cpu")},
         {"surprise", 1}, {"host", "\xff\xfe"}, {std::string(10'000, '\xff'), std::string(10'000, '\xff')}}) {
    const auto message = refusal(key, value);
    CHECK(message.starts_with("resources of a node: "));
    CHECK(message.size() < 500);
    CHECK(message.find_first_of("\n\x1b\xff") == std::string::npos);
  }
  CHECK_THROWS_WITH_AS(node_resources_from_json(json::array()),
                       "resources of a node: found a JSON array; expected an object", input_error);
  auto object = to_json(example());
  object.erase("build");
  CHECK_THROWS_WITH_AS(node_resources_from_json(object), "resources of a node: 'build' is missing", input_error);
}

TEST_CASE("no depth of nesting exhausts the stack") {
  auto text = to_json(example()).dump();
  const std::string value = "3.5";
  text.replace(text.find(value), value.size(), std::string(1'000'000, '[') + std::string(1'000'000, ']'));
  const auto object = json::parse(text);  // not copied: that takes stack
  CHECK_THROWS_WITH_AS(node_resources_from_json(object),
                       "resources of a node: 'cores' is an array; expected a number above 0, at most 65536",
                       input_error);
}
