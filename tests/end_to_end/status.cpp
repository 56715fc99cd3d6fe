/// What `troupe status --json` and `troupe train --json` print is what cli/README.md says, and numbers that are not
/// finite harm neither it nor people's form.

#include <set>

#include "tests/documented_keys.hpp"
#include "tests/end_to_end/cluster_run.hpp"

using namespace troupe;

namespace {

using nlohmann::json;

/// Of JSON lines, behind what they are; the kinds that tell of an actor are documented under one.
types_by_key keys_of_lines(const std::string& text) {
  const std::set<std::string> of_actors{"ended", "restarting", "stopped", "escalated", "abandoned"};
  types_by_key found;
  for (auto line : lines_of(text)) {
    const std::string kind = line["kind"];
    line.erase("kind");
    collect(line, of_actors.count(kind) > 0 ? "started" : kind, found);
  }
  return found;
}

}  // namespace

TEST_CASE("status: its JSON has the keys and types that are documented, and no others") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(1'000'000) + arguments{"--nodes", "2", "--chaos", "replica/0@20:exception"});
  REQUIRE(reaches(head, 100));
  const auto status = status_of(folder);
  REQUIRE(status);
  REQUIRE(!(*status)["job"]["failures"].empty());
  types_by_key found;
  collect(*status, "", found);
  check_documented(found, "`troupe status --json` prints one object. ");

  const auto for_people = run(folder, {"status", "runs/small"});
  CHECK(for_people.code == 0);
  CHECK(says(for_people.out, "recent failures"));
  head.signal(SIGINT);
  CHECK(head.wait() == 6);
}

TEST_CASE("status: a loss that is not finite is told as such") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(1'000'000) + arguments{"--nodes", "1", "training.on_divergence=warn", "training.clip=0",
                                                                "optimizer.kind=sgd", "optimizer.learning_rate=1e20"});
  REQUIRE(reaches(head, 50));
  const auto status = status_of(folder);
  REQUIRE(status);
  CHECK((*status)["job"]["loss"].is_null());
  const auto for_people = run(folder, {"status", "runs/small"});
  INFO(for_people.err);
  CHECK(for_people.code == 0);
  CHECK(says(for_people.out, "loss not finite"));
  head.signal(SIGINT);
  head.wait();
}

TEST_CASE("status: the lines of train --json have the keys and types that are documented, and no others") {
  const scratch_folder folder;
  prepare(folder);
  auto found = keys_of_lines([&] {
    const process head(folder, cluster_job(300) + arguments{"--nodes", "2", "checkpoint.every=50",
                                                            "evaluation.every=100", "--chaos",
                                                            "replica/0@60:exception,shard/1@120,node/1@200"});
    REQUIRE(summary_of(head)["steps"] == 300);
    return head.out();
  }());
  const auto add = [&](int code, const arguments& more) {
    const auto [ended, out, err] = run(folder, arguments{"train", "small.toml", "--json", "--force"} + more);
    CAPTURE(err);
    REQUIRE(ended == code);
    for (const auto& [key, types] : keys_of_lines(out))
      found[key].insert(types.begin(), types.end());
  };
  add(7, {"runtime.replication=2", "training.clip=0", "optimizer.kind=sgd", "optimizer.learning_rate=1e30"});
  add(0, {"evaluation.batches=0"});
  check_documented(found, "The fields, behind the kind they are of.", {"summary.joules_per_token"});
}
