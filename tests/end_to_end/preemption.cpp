/// Notices of preemption, as the command hears of them: it hands its work over and is gone before the deadline.

#include <fmt/chrono.h>

#include "tests/end_to_end/cluster_run.hpp"
#include "tests/runtime/cluster/fake_metadata.hpp"

using namespace troupe;

TEST_CASE("preemption: notices of AWS and GCP drain nodes before their deadlines, and the result is the same") {
  constexpr std::uint64_t steps = 4000;
  const auto deadline = std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now()) +
                        std::chrono::seconds(30);
  std::atomic<bool> noticed = false;
  fake_aws aws{.action = fmt::format(R"({{"action": "terminate", "time": "{:%FT%TZ}"}})", deadline)};
  const fake_server aws_service([&](const std::string& request) {
    aws.polls = noticed ? 3 : 0;
    return aws(request);
  });
  const fake_server gcp_service([&](const std::string&) { return http(200, noticed ? "TRUE" : "FALSE"); });

  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(steps) + arguments{"--listen", "127.0.0.1:0", "--min-nodes", "3"});
  const auto endpoint = head_endpoint(folder);
  const auto stays = start_node(folder, endpoint, "stays");
  const auto spot = start_node(folder, endpoint, "spot", {"--preemption", "aws=" + aws_service.url()});
  const auto preemptible = start_node(folder, endpoint, "preemptible", {"--preemption", "gcp=" + gcp_service.url()});
  REQUIRE(reaches(head, 50));
  noticed = true;
  REQUIRE(comes_true([&] { return says(spot->err(), "event=preemption"); }));
  spot->signal(SIGTERM);  // the cloud's own shutdown, or Kubernetes', says it again: that is no second thought
  CHECK(spot->wait() == 0);
  CHECK(preemptible->wait() == 0);
  CHECK(std::chrono::system_clock::now() < deadline);
  CHECK(!head.ended());
  for (const auto* node : {spot.get(), preemptible.get()}) {
    CHECK(says(node->err(), "event=preemption"));
    CHECK(says(node->err(), "event=left msg=drained"));
  }
  CHECK(says(head.err(), fmt::format("leaves: AWS: terminate at {:%FT%TZ}", deadline)));
  CHECK(says(head.err(), "leaves: GCP: preempted"));

  const auto summary = summary_of(head);
  CHECK(summary["fingerprint"] == calm_fingerprint(cluster_job(steps)));
  CHECK(summary["rollbacks"] == 0);
  CHECK(stays->wait() == 0);
}

TEST_CASE("preemption: a drain that is stuck ends at its deadline, the process included") {
  constexpr std::uint64_t steps = 1'000'000;
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(steps) + arguments{"--listen", "127.0.0.1:0", "--min-nodes", "2", "--chaos",
                                                            "replica/0@50:wedge", "supervision.stall_after=600s"});
  const auto endpoint = head_endpoint(folder);
  const auto first = start_node(folder, endpoint, "first", {"--drain-within", "6"});
  const auto second = start_node(folder, endpoint, "second", {"--drain-within", "6"});
  REQUIRE(reaches(head, 49));
  std::this_thread::sleep_for(std::chrono::seconds(1));  // the replica is in its handler
  const auto asked = std::chrono::steady_clock::now();
  for (const auto* node : {first.get(), second.get()})
    node->signal(SIGTERM);
  CHECK(first->wait() == 0);
  CHECK(second->wait() == 0);
  CHECK(std::chrono::steady_clock::now() - asked < std::chrono::seconds(7));  // with one for a busy machine
  CHECK((says(first->err(), "event=stuck") || says(second->err(), "event=stuck")));
}

TEST_CASE("preemption: a node that dies in the middle of its drain is lost, not let go") {
  constexpr std::uint64_t steps = 2000;
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(steps) + arguments{"--listen", "127.0.0.1:0", "--min-nodes", "2"});
  const auto endpoint = head_endpoint(folder);
  const auto stays = start_node(folder, endpoint, "stays");
  const auto leaves = start_node(folder, endpoint, "leaves");
  REQUIRE(reaches(head, 150));
  stays->signal(SIGSTOP);  // so that the drain waits for a cut
  leaves->signal(SIGTERM);
  REQUIRE(comes_true([&] { return says(head.err(), "leaves: it was told to"); }));
  leaves->signal(SIGKILL);
  wait_for_loss(folder, "had given this one up; it had not been drained yet");
  stays->signal(SIGCONT);
  const auto summary = summary_of(head);
  CHECK(summary["fingerprint"] == calm_fingerprint(cluster_job(steps)));
  require_exactly_once(summary, steps);
  CHECK(says(head.err(), "event=lost"));
  CHECK(stays->wait() == 0);
}

TEST_CASE("preemption: a node that is named to `troupe drain`, to the head or to itself, leaves, and no step is lost") {
  constexpr std::uint64_t steps = 2500;
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(steps) + arguments{"--listen", "127.0.0.1:0", "--min-nodes", "3"});
  const auto endpoint = head_endpoint(folder);
  std::vector<std::unique_ptr<process>> nodes;
  for (const auto* name : {"first", "second", "third"})
    nodes.push_back(start_node(folder, endpoint, name));
  REQUIRE(reaches(head, 50));
  const auto nobody = run(folder, {"drain", "runs/small"});
  CHECK(nobody.code == 3);
  CHECK(says(nobody.err, "which node"));
  const auto unknown = run(folder, {"drain", "runs/small", "--node", "77"});
  CHECK(unknown.code == 3);
  CHECK(says(unknown.err, "'77' is no node"));
  const auto status = status_of(folder);
  REQUIRE(status);
  const auto ambiguous = run(folder, {"drain", endpoint, "--node", (*status)["nodes"][0]["resources"]["host"]});
  CHECK(ambiguous.code == 3);
  CHECK(says(ambiguous.err, "more than one"));
  CHECK(run(folder, {"drain", endpoint, "--node", "1", "--within", "nan"}).code == 2);

  CHECK(run(folder, {"drain", endpoint, "--node", "1", "--wait", "-1"}).code == 2);

  const auto by_number = run(folder, {"drain", "runs/small", "--node", "1"});
  INFO(by_number.err);
  CHECK(by_number.code == 0);
  CHECK(says(by_number.out, "is told to leave"));
  CHECK(says(by_number.out, "node 1 is gone after "));
  CHECK(ready_nodes(folder).size() == 2);
  const auto itself = run(folder, {"drain", (*status)["nodes"][1]["endpoint"]});
  INFO(itself.err);
  CHECK(itself.code == 0);
  CHECK(says(itself.out, "node 2 is gone after "));
  CHECK(ready_nodes(folder).size() == 1);

  const auto summary = summary_of(head);
  CHECK(summary["fingerprint"] == calm_fingerprint(cluster_job(steps)));
  CHECK(summary["rollbacks"] == 0);
  require_exactly_once(summary, steps);
  for (const auto& node : nodes)
    CHECK(node->wait() == 0);
}

TEST_CASE("preemption: `troupe drain` waits as long as it is told, and says when the node is still there, or was lost") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(1'000'000) + arguments{"--listen", "127.0.0.1:0", "--min-nodes", "2"});
  const auto endpoint = head_endpoint(folder);
  const auto stays = start_node(folder, endpoint, "stays");
  const auto leaves = start_node(folder, endpoint, "leaves");
  REQUIRE(reaches(head, 50));
  const auto status = status_of(folder);
  REQUIRE(status);
  std::map<pid_t, int> numbers;
  for (const auto& node : nodes_of(*status))
    numbers[node.process] = node.number;
  const auto number = std::to_string(numbers.at(leaves->id()));

  stays->signal(SIGSTOP);  // so that the drain waits for a cut, until this node is given up
  const auto later = run(folder, {"drain", "runs/small", "--node", number, "--within", "60", "--wait", "0"});
  CHECK(later.code == 0);
  CHECK_FALSE(says(later.out, "is gone after"));
  const auto still = run(folder, {"drain", "runs/small", "--node", number, "--wait", "0.3"});
  CHECK(still.code == 5);
  CHECK(says(still.out, "leaves already"));
  CHECK(says(still.err, fmt::format("node {} is still there after 0.3 s", number)));
  CHECK(says(still.err, "help: "));
  const process waits(folder, {"drain", "runs/small", "--node", number}, "waits.");
  REQUIRE(comes_true([&] { return says(waits.out(), "leaves already"); }));
  leaves->signal(SIGKILL);
  CHECK(waits.wait() == 5);
  CHECK(says(waits.err(), fmt::format("node {} is gone, but was not let go: ", number)));
  stays->signal(SIGCONT);
  head.signal(SIGINT);
  head.wait();
}
