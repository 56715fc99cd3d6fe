/// What is left when a job has ended, however it ended: its run directory, and nothing else.

#include <regex>
#include <set>
#include <sstream>

#include "tests/end_to_end/cluster_run.hpp"
#include "tests/end_to_end/leftovers.hpp"

using namespace troupe;

namespace {

using names = std::set<std::string>;

names with(names some, const std::string& one) {
  some.insert(one);
  return some;
}

/// The three ways to run a job: in one process, on processes that the head starts, on nodes that join it.
enum class kind { alone, with_processes, with_nodes };

struct job {
  static constexpr int node_count = 3;

  job(const scratch_folder& folder, kind how, const arguments& words) : how(how), left(folder) {
    const auto count = std::to_string(node_count);
    const arguments places[] = {{}, {"--nodes", count}, {"--listen", "127.0.0.1:0", "--min-nodes", count}};
    head = std::make_unique<process>(folder, words + places[static_cast<int>(how)]);
    for (int i = 0; how == kind::with_nodes && i < node_count; ++i)
      nodes.push_back(start_node(folder, head_endpoint(folder), fmt::format("node-{}", i), {"--rejoin-within", "1"}));
  }

  /// Looks at all that the job holds in the midst of its work.
  void look() {
    INFO(head->err());
    REQUIRE(reaches(*head, 50));
    left.look(how == kind::alone ? 0 : 1 + node_count);
  }

  void require_ended(int head_code, int node_code) const {
    INFO(head->err());
    CHECK(head->wait() == head_code);
    for (const auto& node : nodes) {
      INFO(node->err());
      CHECK(node->wait() == node_code);
    }
    left.require_none();
  }

  /// What there is of the run when it is over.
  names files() const {
    const names of_any{"config.toml", "metrics.jsonl", "events.jsonl", "checkpoints"};
    if (how == kind::alone)
      return of_any;
    const auto of_a_cluster = with(of_any, "journal.bin");
    return how == kind::with_processes ? with(of_a_cluster, "nodes") : of_a_cluster;
  }

  const kind how;
  leftovers left;
  std::unique_ptr<process> head;
  std::vector<std::unique_ptr<process>> nodes;
};

/// Nothing but the run, what the tests themselves put there, and the corpus' tokens, which the next run is to find.
void require_files(const scratch_folder& folder, const names& of_the_run) {
  const auto found = names_in(run_folder(folder));
  CHECK_MESSAGE(found == of_the_run, fmt::format("{} instead of {}", fmt::join(found, " "), fmt::join(of_the_run, " ")));
  for (const auto& name : names_in(folder.path()))
    CHECK_MESSAGE((names{"runs", "cache", "text.txt", "small.toml"}.contains(name) || name.ends_with("out") ||
                   name.ends_with("err")),
                  name);
  for (const auto& name : names_in(folder.path() / "cache"))
    CHECK_MESSAGE(name.ends_with(".tokens"), name);
  for (const auto& name : names_in(run_folder(folder) / "checkpoints"))
    CHECK_MESSAGE(name.starts_with("step-"), name);
}

template <class Test>
void for_each_kind(Test test) {
  for (const auto how : {kind::alone, kind::with_processes, kind::with_nodes}) {
    CAPTURE(static_cast<int>(how));
    const scratch_folder folder;
    prepare(folder);
    test(folder, how);
  }
}

const auto endless = cluster_job(1'000'000);

}  // namespace

TEST_CASE("clean: after success") {
  for_each_kind([](const scratch_folder& folder, kind how) {
    job it(folder, how, cluster_job(2000));
    it.look();
    it.require_ended(0, 0);
    require_files(folder, with(it.files(), "summary.json"));
  });
}

TEST_CASE("clean: after failure") {
  for_each_kind([](const scratch_folder& folder, kind how) {
    job it(folder, how, endless + arguments{"supervision.intensity=0", "--chaos", "shard/0@2000"});
    it.look();
    it.require_ended(4, 0);
    CHECK(says(it.head->err(), "shard/0"));
    require_files(folder, it.files());
  });
}

TEST_CASE("clean: after Ctrl-C, which saves a cut first; the run goes on from there") {
  for_each_kind([](const scratch_folder& folder, kind how) {
    for (const auto& more : {arguments{}, arguments{"--resume"}}) {
      job it(folder, how, endless + more);
      it.look();
      it.head->signal(SIGINT);
      it.require_ended(6, 0);
      CHECK(lines_of(it.head->out()).back()["first_step"].get<int>() >= (more.empty() ? 0 : 50));
      require_files(folder, with(it.files(), "summary.json"));
    }
  });
}

TEST_CASE("clean: after SIGKILL of the head; what it was about to write goes when the run goes on") {
  for_each_kind([](const scratch_folder& folder, kind how) {
    const auto always_writing = endless + arguments{"checkpoint.every=1"};
    job it(folder, how, always_writing);
    it.look();
    if (how == kind::with_processes)
      kill(ready_nodes(folder).front().process, SIGSTOP);
    it.head->signal(SIGKILL);
    it.require_ended(1000 + SIGKILL, 5);
    if (how != kind::alone) {
      const auto late = run(folder, {"status", "runs/small"});
      CHECK(late.code == 5);
      CHECK(says(late.err, "--resume"));
    }
    const process resumed(folder, always_writing + arguments{"--resume"});
    REQUIRE(reaches(resumed, 51));
    resumed.signal(SIGTERM);
    CHECK(resumed.wait() == 6);
    require_files(folder, with(it.files(), "summary.json"));
  });
}

TEST_CASE("clean: the logs of all processes can be read by a machine, line by line") {
  const scratch_folder folder;
  prepare(folder);
  summary_of(process(folder, cluster_job(200) + arguments{"--nodes", "3"}));
  CHECK(names_in(run_folder(folder) / "nodes") == names{"node-1.log", "node-2.log", "node-3.log"});
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

TEST_CASE("clean: after a second Ctrl-C, which saves nothing") {
  const scratch_folder folder;
  prepare(folder);
  job it(folder, kind::with_processes, endless);
  it.look();
  kill(ready_nodes(folder).front().process, SIGSTOP);  // so that there is no cut before the second signal
  it.head->signal(SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  it.head->signal(SIGINT);
  it.require_ended(130, 0);
  CHECK(!names_in(run_folder(folder)).contains("cluster.json"));
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
  CHECK(comes_true([&] { return processes_in(folder).empty(); }));
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
