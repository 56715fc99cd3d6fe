/// The head is lost, and its run goes on under another: on what nodes kept in memory, on what the disk has, and beside a
/// head that was only stopped.

#include "tests/end_to_end/cluster_run.hpp"

using namespace troupe;
using nlohmann::json;

namespace {

constexpr std::uint64_t steps = 1000;

void require_same(const json& summary) {
  static const auto calm = calm_fingerprint(cluster_job(steps));
  CHECK(summary["fingerprint"] == calm);
  require_exactly_once(summary, steps);
}

std::uint64_t newest_cut(const scratch_folder& folder) {
  std::uint64_t newest = 0;
  for (const auto& entry : std::filesystem::directory_iterator(run_folder(folder) / "checkpoints"))
    if (const auto name = entry.path().filename().string(); name.starts_with("step-"))
      newest = std::max<std::uint64_t>(newest, std::stoull(name.substr(5)));
  return newest;
}

std::vector<json> events_of(const scratch_folder& folder) {
  return lines_of(read_file(run_folder(folder) / "events.jsonl"));
}

/// A run whose head was killed at a moment when its nodes had the cut at step 200 in memory and the disk, which stands
/// still, has the one at step 100.
struct orphaned_run {
  scratch_folder folder;
  std::string endpoint = fmt::format("127.0.0.1:{}", free_port());
  arguments words;
  std::vector<std::unique_ptr<process>> nodes;

  explicit orphaned_run(int count) {
    prepare(folder);
    words = cluster_job(steps) + arguments{"--listen", endpoint, "--min-nodes", std::to_string(count),
                                             "--recover-within", "2"};
    for (int i = 0; i < count; ++i)
      nodes.push_back(start_node(folder, endpoint, fmt::format("node{}", i)));
    const process head(folder, words + arguments{"--chaos", "checkpoint_writer@150:wedge"});
    REQUIRE(reaches(head, 250));
    head.signal(SIGKILL);
    CHECK(head.wait() == 1000 + SIGKILL);
    REQUIRE(newest_cut(folder) == 100);
  }

  json resume() const {
    const process head(folder, words + arguments{"--resume"});
    const auto summary = summary_of(head);
    said = head.err();
    for (const auto& node : nodes)
      if (!node->ended() || node->wait() != 1000 + SIGKILL)
        CHECK(node->wait() == 0);
    require_same(summary);
    require_each_sample_once(folder, steps);
    return summary;
  }

  mutable std::string said;
};

}  // namespace

TEST_CASE("head: killed and resumed, it goes on from the memory of its nodes, later than the last cut on disk") {
  const orphaned_run orphan(3);
  const auto summary = orphan.resume();
  CHECK(summary["first_step"] == 200);
  CHECK(summary["restored"]["survivor"] == 3);
  CHECK(summary["restored"]["disk"] == 0);
  CHECK(std::ranges::count_if(events_of(orphan.folder), [](const json& event) {
          return event["kind"] == "restored" && event["from"] == "survivor" && event["step"] == 200;
        }) == 3);
  CHECK(says(orphan.nodes.front()->err(), "keeps its last cuts for the next"));
}

TEST_CASE("head: one of its nodes is killed with it; the others have what it held") {
  const orphaned_run orphan(3);
  orphan.nodes.back()->signal(SIGKILL);
  const auto replacement = start_node(orphan.folder, orphan.endpoint, "replacement");
  const auto summary = orphan.resume();
  CHECK(summary["first_step"] == 200);
  CHECK(summary["restored"]["survivor"] == 3);
  CHECK(replacement->wait() == 0);
}

TEST_CASE("head: what its nodes kept is lost with too many of them, and the disk's cut is used") {
  const orphaned_run orphan(2);
  for (const auto& node : orphan.nodes)
    node->signal(SIGKILL);
  std::vector<std::unique_ptr<process>> others;
  for (int i = 0; i < 2; ++i)
    others.push_back(start_node(orphan.folder, orphan.endpoint, fmt::format("other{}", i)));
  const auto summary = orphan.resume();
  CHECK(summary["first_step"] == 100);
  CHECK(summary["restored"]["survivor"] == 0);
  CHECK(says(orphan.said, "waiting up to 2 s for those who have shard 0, 1, 2"));
  CHECK(says(orphan.said, "the cut at step 200 is lost"));
}

TEST_CASE("head: its journal is damaged; the successor says so and goes on from the disk's cut") {
  const orphaned_run orphan(2);
  const auto journal = run_folder(orphan.folder) / "journal.bin";
  SUBCASE("torn") { std::filesystem::resize_file(journal, std::filesystem::file_size(journal) / 2); }
  SUBCASE("a flipped bit") {
    std::fstream file(journal, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(20);
    const auto byte = static_cast<char>(file.peek() ^ 1);
    file.seekp(20);
    file.put(byte);
  }
  const auto summary = orphan.resume();
  CHECK(says(orphan.said, "journal.bin: "));
  CHECK(says(orphan.said, "the run goes on from its newest cut on disk"));
  CHECK(summary["first_step"] == 100);
  CHECK(summary["restored"]["survivor"] == 0);
}

TEST_CASE("head: stopped, taken over for, and awake again, it leaves and disturbs nothing; its nodes leave when their time is over") {
  const scratch_folder folder;
  prepare(folder);
  const process first(folder, cluster_job(steps) + arguments{"--listen", "127.0.0.1:0", "--min-nodes", "2"}, "first.");
  const auto endpoint = head_endpoint(folder);
  const auto node = start_node(folder, endpoint, "node", {"--rejoin-within", "1"});
  const auto other = start_node(folder, endpoint, "other", {"--rejoin-within", "1"});
  REQUIRE(reaches(first, 250));
  first.signal(SIGSTOP);

  const auto resume = cluster_job(steps) + arguments{"--nodes", "2", "--resume"};
  const auto refused = run(folder, resume);
  CHECK(refused.code == 2);
  CHECK(says(refused.err, "another process is at work on this run"));

  // As on a file system whose locks do not reach the other machine: the lock is on a file that is not this one.
  const auto events = run_folder(folder) / "events.jsonl";
  std::filesystem::copy_file(events, run_folder(folder) / "copy");
  std::filesystem::rename(run_folder(folder) / "copy", events);
  const process second(folder, resume, "second.");
  REQUIRE(reaches(second, 400));
  first.signal(SIGCONT);
  CHECK(first.wait() == 4);
  CHECK(says(first.err(), "another process has taken this run over"));
  CHECK(std::filesystem::exists(run_folder(folder) / "cluster.json"));  // the second's
  require_same(summary_of(second));
  require_each_sample_once(folder, steps);
  for (const auto* each : {node.get(), other.get()}) {
    CHECK(each->wait() == 5);
    CHECK(says(each->err(), "no head for 1 s"));
  }
}

TEST_CASE("head: its coordinator is stuck in a handler; that is said, the head ends, and another goes on") {
  const scratch_folder folder;
  prepare(folder);
  const auto endpoint = fmt::format("127.0.0.1:{}", free_port());
  const auto words = cluster_job(steps) + arguments{"--listen", endpoint, "--min-nodes", "2", "supervision.stall_after=2s"};
  const auto node = start_node(folder, endpoint, "node");
  const auto other = start_node(folder, endpoint, "other");
  {
    const process head(folder, words + arguments{"--chaos", "coordinator@250:wedge"});
    REQUIRE(comes_true([&] {
      const auto status = status_of(folder);
      return status && std::ranges::any_of((*status)["job"]["actors"], [](const json& actor) {
        return actor["name"] == "coordinator" && actor["state"] == "stuck";
      });
    }));
    CHECK(head.wait() == 4);
    CHECK(says(head.err(), "event=stuck"));
    CHECK(says(head.err(), "the coordinator is stuck in a handler"));
  }
  require_same(summary_of(process(folder, words + arguments{"--resume"})));
  require_each_sample_once(folder, steps);
  CHECK(node->wait() == 0);
  CHECK(other->wait() == 0);
}
