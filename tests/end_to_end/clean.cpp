/// What is left when a job on a cluster has ended, however it ended: its run directory, and nothing else.

#include <regex>
#include <set>
#include <sstream>

#include "tests/end_to_end/cluster_run.hpp"

using namespace troupe;

namespace {

std::set<std::string> names_in(const std::filesystem::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.insert(entry.path().filename().string());
  return names;
}

const std::set<std::string> of_a_run{"config.toml", "metrics.jsonl", "events.jsonl", "checkpoints", "nodes"};

const std::set<std::string> expected_beside{"runs", "cache", "text.txt", "small.toml"};

void require_clean(const scratch_folder& folder, std::set<std::string> expected) {
  CHECK(comes_true([&] { return processes_in(folder).empty(); }, std::chrono::seconds(10)));
  CHECK(names_in(run_folder(folder)) == expected);
  for (const auto& name : names_in(folder.path()))  // what the tests themselves put there, and no more
    CHECK_MESSAGE((expected_beside.contains(name) || name.ends_with("out") || name.ends_with("err")), name);
  for (const auto& name : names_in(run_folder(folder) / "checkpoints"))
    CHECK(name.starts_with("step-"));
}

std::set<std::string> with(std::set<std::string> names, const std::string& one) {
  names.insert(one);
  return names;
}

}  // namespace

TEST_CASE("clean: after success") {
  const scratch_folder folder;
  prepare(folder);
  summary_of(process(folder, cluster_job(200) + arguments{"--nodes", "3"}));
  require_clean(folder, with(of_a_run, "summary.json"));
  CHECK(names_in(run_folder(folder) / "nodes") == std::set<std::string>{"node-1.log", "node-2.log", "node-3.log"});
  // Each line of each log can be read by a machine.
  const std::regex form(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=(info|warn|error)( node=\d+)?)"
                        R"(( actor=\S+ incarnation=\d+)? event=\w+( msg=([^\s"]+|"([^"\\]|\\.)*"))?)");
  for (const auto& log : {folder.path() / "err", run_folder(folder) / "nodes" / "node-1.log"}) {
    std::istringstream lines(read_file(log));
    int count = 0;
    for (std::string line; std::getline(lines, line); ++count)
      CHECK_MESSAGE(std::regex_match(line, form), line);
    CHECK(count > 3);
  }
  CHECK(says(read_file(run_folder(folder) / "nodes" / "node-1.log"), " incarnation=1 event=started"));
}

TEST_CASE("clean: after failure") {
  const scratch_folder folder;
  prepare(folder);
  const auto failed = run(folder, cluster_job(200) + arguments{"--nodes", "2", "supervision.intensity=0", "--chaos", "shard/0@50"});
  CHECK(failed.code == 4);
  CHECK(says(failed.err, "shard/0"));
  require_clean(folder, of_a_run);
}

TEST_CASE("clean: after Ctrl-C, which saves a cut first") {
  const scratch_folder folder;
  prepare(folder);
  const auto words = cluster_job(1'000'000) + arguments{"--nodes", "2"};
  {
    const process head(folder, words);
    REQUIRE(reaches(head, 50));
    head.signal(SIGINT);
    CHECK(head.wait() == 6);
  }
  require_clean(folder, with(of_a_run, "summary.json"));
  SUBCASE("and the run goes on from there") {
    const process head(folder, words + arguments{"--resume"});
    REQUIRE(reaches(head, 51));
    head.signal(SIGTERM);
    CHECK(head.wait() == 6);
    CHECK(lines_of(head.out()).back()["first_step"] >= 50);
    require_clean(folder, with(of_a_run, "summary.json"));
  }
}

TEST_CASE("clean: after a second Ctrl-C, which saves nothing") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(1'000'000) + arguments{"--nodes", "2"});
  REQUIRE(reaches(head, 50));
  kill(ready_nodes(folder).front().process, SIGSTOP);  // so that there is no cut before the second signal
  head.signal(SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  head.signal(SIGINT);
  CHECK(head.wait() == 130);
  require_clean(folder, of_a_run);
}

TEST_CASE("clean: after Ctrl-C while the head waits for nodes") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(200) + arguments{"--listen", "127.0.0.1:0"});
  head_endpoint(folder);
  head.signal(SIGINT);
  CHECK(head.wait() == 4);
  CHECK(says(head.err(), "nothing was trained"));
  CHECK(!says(head.err(), "fault of troupe"));
  CHECK(!names_in(run_folder(folder)).contains("cluster.json"));
}

TEST_CASE("clean: after SIGKILL of the head, stopped nodes included") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(1'000'000) + arguments{"--nodes", "2"});
  REQUIRE(reaches(head, 50));
  kill(ready_nodes(folder).front().process, SIGSTOP);
  head.signal(SIGKILL);
  head.wait();
  CHECK(comes_true([&] { return processes_in(folder).empty(); }));
  const auto late = run(folder, {"status", "runs/small"});
  CHECK(late.code == 5);
  CHECK(says(late.err, "--resume"));
}

TEST_CASE("clean: a node that cannot take part says why, leaves, and disturbs nobody") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(2000) + arguments{"--listen", "127.0.0.1:0"});
  const auto endpoint = head_endpoint(folder);
  const auto good = start_node(folder, endpoint, "good");
  REQUIRE(reaches(head, 10));
  write_file(folder, "text.txt", "other text, other numbers of tokens, and much too little of it to train on, in any case\n");
  const auto odd = start_node(folder, endpoint, "odd");
  CHECK(odd->wait() == 3);
  CHECK(says(odd->err(), "text.txt"));
  const auto summary = summary_of(head);
  require_exactly_once(summary, 2000);
  CHECK(summary["restarts"] == 0);
  CHECK(says(head.err(), "cannot take part"));
  CHECK(good->wait() == 0);
}

TEST_CASE("clean: a job whose own processes cannot take part fails with their reason, and does not wait for others") {
  const scratch_folder folder;
  prepare(folder);
  const arguments with_input{"/bin/sh", "-c", "exec \"$@\" < text.txt", "sh"};
  const process head(folder, cluster_job(200) + arguments{"--nodes", "2", "data.path=/dev/stdin"}, {}, with_input);
  CHECK(head.wait() == 3);
  CHECK(says(head.err(), "error: /dev/stdin: the head's data cannot be opened on this node"));
  require_clean(folder, of_a_run);
}

TEST_CASE("clean: a node that drains while the job ends leaves as it was told to, whichever comes first") {
  for (int i = 0; i < 5; ++i) {
    CAPTURE(i);
    const scratch_folder folder;
    prepare(folder);
    const process head(folder, cluster_job(150) + arguments{"--listen", "127.0.0.1:0", "--min-nodes", "2"});
    const auto endpoint = head_endpoint(folder);
    const auto stays = start_node(folder, endpoint, "stays");
    const auto leaves = start_node(folder, endpoint, "leaves");
    reaches(head, 110 + 10 * i);
    leaves->signal(SIGTERM);
    CHECK(leaves->wait() == 0);
    CHECK(stays->wait() == 0);
    require_exactly_once(summary_of(head), 150);
  }
}

TEST_CASE("clean: a node that is told to leave before it has joined leaves") {
  const scratch_folder folder;
  prepare(folder);
  const auto node = start_node(folder, fmt::format("127.0.0.1:{}", free_port()), "lonely");
  REQUIRE(comes_true([&] { return says(node->err(), "looking for the head"); }));
  node->signal(SIGTERM);
  CHECK(node->wait() == 0);
}
