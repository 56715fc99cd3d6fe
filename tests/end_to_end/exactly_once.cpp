/// Bounded and async mode: whatever happens to nodes and to the head, every gradient has effect once.

#include <random>

#include "tests/end_to_end/cluster_run.hpp"
#include "tests/seeds.hpp"

using namespace troupe;

TEST_CASE("bounded and async: nodes die, join and drain, the head is killed and resumed; every gradient has effect once") {
  for_each_seed(1, [](std::uint64_t seed) {
    constexpr std::uint64_t steps = 2000;
    const std::vector<arguments> kinds{{"consistency.mode=bounded"},
                                       {"consistency.mode=async"},
                                       {"consistency.mode=bounded", "runtime.replication=2"},
                                       {"consistency.mode=async", "runtime.replication=2"}};
    for (const auto& kind : kinds) {
      CAPTURE(kind.front());
      CAPTURE(kind.back());
      const scratch_folder folder;
      prepare(folder);
      std::mt19937_64 random(seed);
      const auto endpoint = fmt::format("127.0.0.1:{}", free_port());
      auto words = cluster_job(steps) + kind + arguments{"--listen", endpoint, "--nodes", "2"};
      const auto kill_one = [&] {
        const auto nodes = ready_nodes(folder);
        if (!nodes.empty())
          kill(nodes[random() % nodes.size()].process, SIGKILL);
      };
      std::vector<std::unique_ptr<process>> independent;
      {
        const process head(folder, words);
        REQUIRE(reaches(head, 150));
        kill_one();
        REQUIRE(reaches(head, 200 + random() % 100));
        for (const auto* name : {"first", "second"})
          independent.push_back(start_node(folder, endpoint, name));
        REQUIRE(reaches(head, 500 + random() % 100));
        kill_one();
        REQUIRE(reaches(head, 700 + random() % 100));
        head.signal(SIGKILL);
        head.wait();
      }
      words.push_back("--resume");
      const process head(folder, words);
      if (reaches(head, 1000)) {
        independent[0]->signal(SIGTERM);
        CHECK(independent[0]->wait() % 1000 % SIGKILL == 0);  // it may have been killed before
      }
      if (reaches(head, 1300 + random() % 100))
        kill_one();
      require_exactly_once(summary_of(head), steps);
      require_each_sample_once(folder, steps);
      independent.clear();
      CHECK(comes_true([&] { return processes_in(folder).empty(); }));
    }
  });
}
