/// What a batch system's probes ask of a node (examples/kubernetes.yaml): whether it lives, with a head or without, and
/// whether it takes part in a job.

#include "tests/end_to_end/cluster_run.hpp"

using namespace troupe;

TEST_CASE("probes: a node lives while it looks for a head, is ready while it has a job, and looks again when that is gone") {
  const scratch_folder folder;
  prepare(folder);
  const auto head_at = fmt::format("127.0.0.1:{}", free_port()), node_at = fmt::format("127.0.0.1:{}", free_port());
  const auto node = start_node(folder, head_at, "node", {"--listen", node_at});
  const auto lives = [&] { return run(folder, {"status", node_at}).code; };
  const auto ready = [&] { return run(folder, {"status", "--ready", node_at}).code; };
  REQUIRE(comes_true([&] { return says(node->err(), "event=searches"); }));
  for (int i = 0; i < 10; ++i)  // between attempts, too
    CHECK(lives() == 0);
  const auto waiting = run(folder, {"status", "--ready", node_at});
  CHECK(waiting.code == 5);
  CHECK(says(waiting.err, "searching"));

  const process head(folder, cluster_job(1'000'000) + arguments{"--listen", head_at});
  REQUIRE(reaches(head, 10));
  CHECK(ready() == 0);
  const auto told = nlohmann::json::parse(run(folder, {"status", "--json", node_at}).out);
  CHECK(told["node"] == 1);
  CHECK(told["state"] == "ready");
  CHECK(told["head"] == head_at);
  CHECK(told["actors"].size() >= 4 + 4 + 3 + 1);  // replicas, loaders, shards, the evaluator

  head.signal(SIGKILL);
  head.wait();
  CHECK(comes_true([&] { return ready() == 5 && lives() == 0; }));
  node->signal(SIGTERM);
  CHECK(node->wait() == 0);
}
