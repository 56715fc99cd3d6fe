/// `troupe status --json` is what cli/README.md says, and numbers that are not finite harm neither it nor people's form.

#include <set>
#include <sstream>

#include "tests/end_to_end/cluster_run.hpp"

using namespace troupe;

namespace {

using nlohmann::json;

/// By key as the README writes it: the types of what is there.
using types_by_key = std::map<std::string, std::set<std::string>>;

void collect(const json& value, const std::string& key, types_by_key& into) {
  if (value.is_object()) {
    for (const auto& [name, part] : value.items())
      collect(part, key.empty() ? name : key + "." + name, into);
  } else if (value.is_array()) {
    for (const auto& part : value)
      collect(part, key + "[]", into);
  } else {
    into[key].insert(value.is_number_integer() ? "integer" : value.type_name());
  }
}

/// The rows of the table behind `title`: `| `key`, `key` | type | ... |`.
types_by_key documented(const std::string& title) {
  std::istringstream text(read_file(std::filesystem::path(TROUPE_SOURCE_DIR) / "cli" / "README.md"));
  types_by_key found;
  bool in_table = false, behind = false;
  for (std::string line; std::getline(text, line);) {
    behind = behind || line.starts_with(title);
    if (!behind || !line.starts_with("| `")) {
      if (in_table)
        break;
      continue;
    }
    in_table = true;
    const auto end_of_keys = line.find(" | ");
    const auto types = line.substr(end_of_keys + 3, line.find(" | ", end_of_keys + 3) - end_of_keys - 3);
    std::set<std::string> allowed;
    for (const auto* each : {"integer", "number", "string", "null"})
      if (says(types, each))
        allowed.insert(each);
    for (auto begin = line.find('`'); begin < end_of_keys;) {
      const auto end = line.find('`', begin + 1);
      found[line.substr(begin + 1, end - begin - 1)] = allowed;
      begin = line.find('`', end + 1);
    }
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
  const auto expected = documented("`troupe status --json` prints one object. ");
  REQUIRE(expected.size() > 20);
  for (const auto& [key, types] : found) {
    CAPTURE(key);
    const auto known = expected.find(key);
    REQUIRE_MESSAGE(known != expected.end(), "is not documented");
    for (const auto& type : types)
      CHECK_MESSAGE((known->second.count(type) > 0 || (type == "integer" && known->second.count("number") > 0)), type);
  }
  for (const auto& [key, types] : expected)
    CHECK_MESSAGE(found.count(key) == 1, key);

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
