#pragma once

/// A training job on several processes, for tests that disturb it: the head (`troupe train`), independent nodes
/// (`troupe node`), and what can be seen of them from outside.

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/command_process.hpp"

namespace troupe {

using arguments = std::vector<std::string>;

inline arguments operator+(arguments words, const arguments& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// More lanes and shards than nodes, so that each node has some of either.
inline arguments cluster_job(std::uint64_t steps) {
  return {"train", "small.toml", "--json", fmt::format("training.steps={}", steps), "training.lanes=4",
          "runtime.shards=3", "checkpoint.every=100", "checkpoint.flush=false", "evaluation.every=1000",
          "schedule.kind=constant", "supervision.intensity=1000"};
}

inline std::filesystem::path run_folder(const scratch_folder& folder) { return folder.path() / "runs" / "small"; }

/// What a job that is done says at the end.
inline nlohmann::json summary_of(const process& head) {
  const int code = head.wait();
  INFO(head.err());
  REQUIRE(code == 0);
  return lines_of(head.out()).back();
}

/// The fingerprint of `words` in one process.
inline std::string calm_fingerprint(const arguments& words) {
  const scratch_folder folder;
  prepare(folder);
  return summary_of(process(folder, words))["fingerprint"];
}

inline void require_exactly_once(const nlohmann::json& summary, std::uint64_t steps) {
  CHECK(summary["steps"] == steps);
  for (const auto& shard : summary["shards"]) {
    CAPTURE(shard.dump());
    for (const auto& applied : shard["applied"])
      CHECK(applied == steps);
  }
}

/// Each sample that was due has had effect once: a step comes again after a rollback or a resume, and the last line of it
/// counts.
inline void require_each_sample_once(const scratch_folder& folder, std::uint64_t steps) {
  constexpr std::uint64_t batch = 4;
  std::map<std::uint64_t, nlohmann::json> samples;
  for (const auto& line : lines_of(read_file(run_folder(folder) / "metrics.jsonl")))
    if (line["kind"] == "step")
      samples[line["step"]] = line["samples"];
  REQUIRE(samples.size() == steps);
  for (const auto& [step, of_it] : samples)
    CHECK_MESSAGE(of_it == nlohmann::json::array({{(step - 1) * batch, batch}}), "step ", step);
}

/// The last step that a head told of.
inline std::uint64_t step_of(const process& head) {
  const auto text = head.out();
  const auto last = text.rfind("\"step\":", text.rfind('\n'));
  return last == std::string::npos ? 0 : std::stoull(text.substr(last + 7));
}

/// False: the job was over before.
inline bool reaches(const process& head, std::uint64_t step) {
  REQUIRE(comes_true([&] { return head.ended() || step_of(head) >= step; }));
  return !head.ended();
}

/// Empty: there is no answer (yet).
inline std::optional<nlohmann::json> status_of(const scratch_folder& folder) {
  const process asking(folder, {"status", "runs/small", "--json"}, "status.");
  if (asking.wait() != 0)
    return {};
  return nlohmann::json::parse(asking.out());
}

struct node_seen {
  int number = 0;
  pid_t process = 0;
  std::string state;
  std::string evidence;
};

inline std::vector<node_seen> nodes_of(const nlohmann::json& status) {
  std::vector<node_seen> found;
  for (const auto& node : status["nodes"])
    found.push_back({node["node"], node["resources"]["process_id"], node["state"], node["evidence"]});
  return found;
}

/// Waits for a node to be struck out for a reason that holds `evidence`; returns its number.
inline int wait_for_loss(const scratch_folder& folder, const std::string& evidence) {
  int number = 0;
  REQUIRE(comes_true([&] {
    const auto status = status_of(folder);
    for (const auto& node : status ? nodes_of(*status) : std::vector<node_seen>{})
      if (node.state == "gone" && node.evidence.find(evidence) != std::string::npos)
        number = node.number;
    return number != 0;
  }));
  return number;
}

inline std::vector<node_seen> ready_nodes(const scratch_folder& folder) {
  const auto status = status_of(folder);
  auto all = status ? nodes_of(*status) : std::vector<node_seen>{};
  std::erase_if(all, [](const node_seen& node) { return node.state != "ready"; });
  return all;
}

/// Processes that work in this folder: the command, and what it left behind.
inline std::vector<pid_t> processes_in(const scratch_folder& folder) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::error_code gone;
    const auto where = std::filesystem::read_symlink(entry.path() / "cwd", gone);
    if (!gone && where == folder.path())
      found.push_back(static_cast<pid_t>(std::stol(entry.path().filename().string())));
  }
  return found;
}

/// Where the head of the run in this folder listens; waits for it.
inline std::string head_endpoint(const scratch_folder& folder) {
  nlohmann::json file;
  REQUIRE(comes_true([&] {
    std::ifstream in(run_folder(folder) / "cluster.json");
    file = nlohmann::json::parse(in, nullptr, false);
    return file.is_object();
  }));
  return file["endpoint"];
}

/// A port that nobody has at the moment.
inline std::uint16_t free_port() {
  const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(probe, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  ::close(probe);
  return ntohs(address.sin_port);
}

/// An independent node of the head at `endpoint`.
inline std::unique_ptr<process> start_node(const scratch_folder& folder, const std::string& endpoint,
                                           const std::string& name, const arguments& more = {},
                                           const arguments& runner = {}) {
  return std::make_unique<process>(folder, arguments{"node", "--join", endpoint, "--speed", "1", "--cores", "1"} + more,
                                   name + ".", runner);
}

}  // namespace troupe
