/// Sync mode: the parameters are those of one process, bit for bit, on however many nodes, and whatever happens to them.

#include <random>

#include "tests/end_to_end/cluster_run.hpp"
#include "tests/seeds.hpp"

using namespace troupe;
using nlohmann::json;

namespace {

constexpr std::uint64_t steps = 2000;

const std::string& calm() {
  static const auto print = calm_fingerprint(cluster_job(steps));
  return print;
}

void require_same(const json& summary) {
  CHECK(summary["fingerprint"] == calm());
  require_exactly_once(summary, steps);
}

/// Whoever is a node at the moment, one of them.
pid_t any_node(const scratch_folder& folder, std::mt19937_64& random) {
  const auto nodes = ready_nodes(folder);
  return nodes.empty() ? 0 : nodes[random() % nodes.size()].process;
}

/// Again and again while the job runs, some steps apart. The first time falls before the first step of many seeds,
/// shortly after a node has joined.
template <class Disturb>
void disturb(const process& head, std::mt19937_64& random, Disturb once) {
  for (std::uint64_t from = 1; from < steps && reaches(head, from); from = step_of(head) + 1 + random() % 300)
    once();
}

std::string exported(const scratch_folder& folder) {
  const auto done = run(folder, {"export", "runs/small", "model"});
  INFO(done.err);
  REQUIRE(done.code == 0);
  return read_file(folder.path() / "model" / "model.safetensors");
}

}  // namespace

TEST_CASE("sync: one process and 2, 3 and 4 nodes end with the same parameters") {
  std::string bytes;
  {
    const scratch_folder folder;
    prepare(folder);
    require_same(summary_of(process(folder, cluster_job(steps))));
    bytes = exported(folder);
    CHECK(!bytes.empty());
  }
  for (const auto* nodes : {"2", "3", "4"}) {
    CAPTURE(nodes);
    const scratch_folder folder;
    prepare(folder);
    require_same(summary_of(process(folder, cluster_job(steps) + arguments{"--nodes", nodes})));
    CHECK(exported(folder) == bytes);
  }
}

TEST_CASE("sync: nodes are killed with SIGKILL again and again, and replaced") {
  for_each_seed(3, [](std::uint64_t seed) {
    const scratch_folder folder;
    prepare(folder);
    std::mt19937_64 random(seed);
    const process head(folder, cluster_job(steps) + arguments{"--nodes", "3"});
    int killed = 0;
    disturb(head, random, [&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 40));
      if (const auto victim = any_node(folder, random)) {
        kill(victim, SIGKILL);
        ++killed;
      }
    });
    require_same(summary_of(head));
    require_each_sample_once(folder, steps);
    CHECK(killed > 1);
    CHECK(processes_in(folder).empty());
  });
}

TEST_CASE("sync: while the job runs, nodes join and others are killed") {
  for_each_seed(2, [](std::uint64_t seed) {
    const scratch_folder folder;
    prepare(folder);
    std::mt19937_64 random(seed);
    const process head(folder, cluster_job(steps) + arguments{"--listen", "127.0.0.1:0"});
    const auto endpoint = head_endpoint(folder);
    std::vector<std::unique_ptr<process>> nodes;
    auto add_node = [&, started = 0]() mutable {
      nodes.push_back(start_node(folder, endpoint, fmt::format("node-{}", ++started), {"--rejoin-within", "10"}));
    };
    add_node();
    int killed = 0;
    disturb(head, random, [&] {
      add_node();
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 200));
      const auto victim = nodes.begin() + static_cast<std::ptrdiff_t>(random() % nodes.size());
      (*victim)->signal(SIGKILL);
      (*victim)->wait();
      nodes.erase(victim);
      ++killed;
    });
    require_same(summary_of(head));
    require_each_sample_once(folder, steps);
    CHECK(killed > 2);
    // One that was still starting when the job ended finds nobody.
    for (const auto& node : nodes)
      CHECK((node->wait() == 0 || says(node->err(), "no head for 10 s")));
  });
}

TEST_CASE("sync: a killed node's shards come back from the memory of its neighbours, without the disk") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(steps) + arguments{"--nodes", "3"});
  REQUIRE(reaches(head, 250));
  std::filesystem::remove_all(run_folder(folder) / "checkpoints");
  const auto nodes = ready_nodes(folder);
  REQUIRE(nodes.size() == 3);
  kill(nodes.front().process, SIGKILL);
  const auto summary = summary_of(head);
  require_same(summary);
  CHECK(summary["restored"]["neighbour"] >= 1);
  CHECK(summary["restored"]["own_memory"] >= 1);
  CHECK(summary["restored"]["disk"] == 0);
}

TEST_CASE("sync: with backups a killed node costs no step") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(steps) + arguments{"--nodes", "3", "runtime.replication=2"});
  const auto restored_from = [&](const char* source) {
    const auto status = status_of(folder);
    return status ? (*status)["job"]["restored"][source].get<int>() : 0;
  };
  REQUIRE(reaches(head, 150));
  const auto nodes = ready_nodes(folder);
  REQUIRE(nodes.size() == 3);
  kill(nodes.front().process, SIGKILL);
  REQUIRE(comes_true([&] { return restored_from("backup") > 0; }));
  const auto summary = summary_of(head);
  require_same(summary);
  CHECK(summary["rollbacks"] == 0);
}

TEST_CASE("sync: a shard's node and its backup's killed at once cost the steps since the last cut") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(steps) + arguments{"--nodes", "3", "runtime.replication=2"});
  REQUIRE(reaches(head, 250));
  const auto status = status_of(folder);
  REQUIRE(status);
  std::vector<std::string> homes;
  for (const auto& actor : (*status)["job"]["actors"])
    if (actor["name"] == "shard/0" || actor["name"] == "keeper/0")
      homes.push_back(actor["where"]);
  REQUIRE(homes.size() == 2);
  int killed = 0;
  for (const auto& node : nodes_of(*status))
    if (std::ranges::count(homes, fmt::format("node {}", node.number)) > 0 && kill(node.process, SIGKILL) == 0)
      ++killed;
  REQUIRE(killed == 2);
  const auto summary = summary_of(head);
  require_same(summary);
  CHECK(summary["rollbacks"] >= 1);
}

TEST_CASE("sync: nodes join while the job runs, make cuts on request, drain, and lose no step") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(steps) + arguments{"--listen", "127.0.0.1:0"});
  const auto endpoint = head_endpoint(folder);
  const auto first = start_node(folder, endpoint, "first");
  REQUIRE(reaches(head, 150));
  const auto second = start_node(folder, endpoint, "second");
  const auto third = start_node(folder, endpoint, "third");
  const auto works_on = [&](int number) {
    const auto status = status_of(folder);
    return status && std::ranges::any_of((*status)["job"]["actors"], [&](const json& actor) {
      return actor["where"] == fmt::format("node {}", number);
    });
  };
  REQUIRE(comes_true([&] { return works_on(1) && works_on(2) && works_on(3); }));

  for (const process* asked : {&head, static_cast<const process*>(second.get())}) {
    const auto early_cuts = [&] {
      const auto text = head.out();
      const auto lines = lines_of(text.substr(0, text.rfind('\n') + 1));
      return std::ranges::count_if(lines, [](const json& line) {
        return line["kind"] == "cut" && line["step"].get<std::uint64_t>() % 100 != 0;
      });
    };
    // One that falls where a cut is due anyway cannot be told from it.
    const auto before = early_cuts();
    for (int i = 0; i < 20 && early_cuts() == before; ++i) {
      asked->signal(SIGUSR1);
      comes_true([&] { return early_cuts() > before; }, std::chrono::milliseconds(500));
    }
    CHECK(early_cuts() > before);
  }

  first->signal(SIGTERM);
  CHECK(first->wait() == 0);
  INFO(first->err());
  CHECK(says(first->err(), "drained"));
  const auto status = status_of(folder);
  REQUIRE(status);
  CHECK(nodes_of(*status).front().state == "gone");

  const auto summary = summary_of(head);
  require_same(summary);
  require_each_sample_once(folder, steps);
  CHECK(summary["rollbacks"] == 0);
  CHECK(second->wait() == 0);
  CHECK(third->wait() == 0);
}

TEST_CASE("sync: the head is killed and resumed; its own nodes die with it") {
  for_each_seed(2, [](std::uint64_t seed) {
    const scratch_folder folder;
    prepare(folder);
    std::mt19937_64 random(seed);
    auto words = cluster_job(steps) + arguments{"--nodes", "2"};
    for (int i = 0; i < 2; ++i) {
      const process head(folder, words);
      if (reaches(head, std::max<std::uint64_t>(step_of(head), 101) + random() % 500)) {
        head.signal(SIGKILL);
        CHECK(head.wait() == 1000 + SIGKILL);
      }
      CHECK(comes_true([&] { return processes_in(folder).empty(); }));
      if (i == 0)
        words.push_back("--resume");
    }
    require_same(summary_of(process(folder, words)));
    require_each_sample_once(folder, steps);
  });
}

TEST_CASE("sync: independent nodes find the head again when it is resumed") {
  const scratch_folder folder;
  prepare(folder);
  const auto endpoint = fmt::format("127.0.0.1:{}", free_port());
  auto words = cluster_job(steps) + arguments{"--listen", endpoint, "--min-nodes", "2"};
  const auto first = start_node(folder, endpoint, "first");  // before there is a head
  const auto second = start_node(folder, endpoint, "second");
  for (int i = 0; i < 2; ++i) {
    const process head(folder, words);
    REQUIRE(reaches(head, 301 + 400 * i));
    head.signal(SIGKILL);
    head.wait();
    if (i == 0)
      words.push_back("--resume");
  }
  require_same(summary_of(process(folder, words)));
  CHECK(first->wait() == 0);
  CHECK(second->wait() == 0);
  CHECK(says(first->err(), "looking for the head"));
}
