/// Who rounds otherwise gives other bits: nodes that do are refused, and a run that goes on so says it.

#include <set>

#include "tests/end_to_end/cluster_run.hpp"

using namespace troupe;

namespace {

/// oneDNN takes it for the processor's best instructions.
const arguments other_machine{"/usr/bin/env", "ONEDNN_MAX_CPU_ISA=SSE41"};

constexpr auto warned = "the run was computed with oneDNN";

}  // namespace

TEST_CASE("arithmetic: in sync mode a node that rounds otherwise than the first is refused, unless that is wanted") {
  const auto train = [](const char* setting) {
    return cluster_job(1'000'000) + arguments{"--listen", "127.0.0.1:0", setting};
  };
  for (const auto* wanted : {"cluster.mixed_arithmetic=true", "consistency.mode=async"}) {
    CAPTURE(wanted);
    const scratch_folder folder;
    prepare(folder);
    const process head(folder, train(wanted));
    const auto first = start_node(folder, head_endpoint(folder), "first");
    const auto second = start_node(folder, head_endpoint(folder), "second", {}, other_machine);
    CHECK(comes_true([&] { return ready_nodes(folder).size() == 2; }));
    std::set<std::string> kinds;
    const auto status = status_of(folder);
    REQUIRE(status);
    for (const auto& node : (*status)["nodes"])
      kinds.insert(node["arithmetic"].get<std::string>());
    CHECK(kinds.size() == 2);
    head.signal(SIGINT);
    head.wait();
  }
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, train("consistency.mode=sync"));
  const auto endpoint = head_endpoint(folder);
  const auto first = start_node(folder, endpoint, "first");
  REQUIRE(reaches(head, 10));
  const auto second = start_node(folder, endpoint, "second", {}, other_machine);
  CHECK(second->wait() == 3);
  for (const auto* part :
       {"event=refused", "sse41", "but node 1", "avx", "ONEDNN_MAX_CPU_ISA", "cluster.mixed_arithmetic=true"})
    CHECK_MESSAGE(says(second->err(), part), part);
  CHECK(says(head.err(), "event=refused"));
  CHECK(comes_true([&] { return ready_nodes(folder).size() == 1; }));
  head.signal(SIGINT);
  CHECK(head.wait() == 6);
}

TEST_CASE("arithmetic: a run that goes on with another than it was computed with says so once, and goes on") {
  for (const auto& where : {arguments{}, arguments{"--nodes", "2"}}) {
    CAPTURE(where.size());
    const scratch_folder folder;
    prepare(folder);
    const auto go_on = [&](int steps, const arguments& runner, const char* mode = "consistency.mode=sync") {
      const auto words = cluster_job(static_cast<std::uint64_t>(steps)) + arguments{mode} + where;
      const process job(folder, steps > 10 ? words + arguments{"--resume"} : words, {}, runner);
      INFO(job.err());
      REQUIRE(job.wait() == 0);
      const auto lines = lines_of(job.out());
      const auto events = std::count_if(lines.begin(), lines.end(), [](const nlohmann::json& line) {
        return line["kind"] == "warning" && says(line["message"], warned);
      });
      CHECK(says(job.err(), warned) == (events > 0));
      return events;
    };
    CHECK(go_on(10, {}) == 0);
    CHECK(go_on(20, {}) == 0);
    CHECK(go_on(30, other_machine, "consistency.mode=async") == 0);
    CHECK(go_on(40, other_machine) == 0);  // nobody knows what the last ones were
    CHECK(go_on(50, {}) == 1);
    CHECK(go_on(60, {}) == 0);
  }
}
