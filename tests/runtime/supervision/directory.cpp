#include "runtime/supervision/directory.hpp"

#include <memory>

#include <doctest/doctest.h>

#include "tests/simulation/event_log.hpp"
#include "tests/simulation/simulator.hpp"

using namespace troupe;

namespace {

struct fixture {
  simulator sim{1};
  directory_actor names = spawn_directory(sim.system());
  caf::actor first = sim.system().spawn(puppet);
  caf::actor second = sim.system().spawn(puppet);

  void publish(const std::string& name, std::uint64_t incarnation, const caf::actor& handle) {
    caf::anon_send(names, publish_name{{name, incarnation, handle}});
    sim.run();
  }

  directory_entry resolve(const std::string& name) {
    return sim.ask<directory_entry>(names, resolve_name{name});
  }

  caf::actor spawn_watcher(const std::shared_ptr<std::vector<directory_entry>>& seen) {
    return sim.system().spawn([seen](caf::event_based_actor*) -> caf::behavior {
      return {[seen](const directory_entry& entry) { seen->push_back(entry); }};
    });
  }
};

}  // namespace

TEST_CASE_FIXTURE(fixture, "a name leads to its holder") {
  publish("shard/3", 1, first);
  CHECK(resolve("shard/3").handle == first);
  CHECK(resolve("shard/3").incarnation == 1);
  publish("shard/3", 2, second);
  CHECK(resolve("shard/3").handle == second);
  CHECK_THROWS_WITH(resolve("shard/4"), "unknown name: shard/4: nobody was ever published by this name");
}

TEST_CASE_FIXTURE(fixture, "a late incarnation is ignored") {
  publish("shard/3", 2, second);
  publish("shard/3", 1, first);
  CHECK(resolve("shard/3").handle == second);
  caf::anon_send(names, withdraw_name{"shard/3", 1});
  sim.run();
  CHECK(resolve("shard/3").handle == second);
}

TEST_CASE_FIXTURE(fixture, "a withdrawn name stays known") {
  publish("shard/3", 2, first);
  caf::anon_send(names, withdraw_name{"shard/3", 2});
  sim.run();
  CHECK_FALSE(resolve("shard/3").handle);
  CHECK(resolve("shard/3").incarnation == 2);
}

TEST_CASE_FIXTURE(fixture, "a holder that ends loses all its names, but not those it had lost before") {
  publish("a", 1, first);
  publish("b", 1, first);
  publish("c", 1, first);
  publish("c", 2, second);
  send_exit(first, caf::exit_reason::kill);
  sim.run();
  CHECK_FALSE(resolve("a").handle);
  CHECK_FALSE(resolve("b").handle);
  CHECK(resolve("c").handle == second);
  // Whoever is published dead is withdrawn at once.
  publish("d", 1, first);
  CHECK_FALSE(resolve("d").handle);
}

TEST_CASE_FIXTURE(fixture, "names are listed by prefix") {
  publish("shard/1", 1, first);
  publish("shard/0", 1, first);
  publish("shards", 1, first);
  publish("replica/0", 1, second);
  const auto list = sim.ask<name_list>(names, list_names{"shard/"});
  REQUIRE(list.entries.size() == 2);
  CHECK(list.entries[0].name == "shard/0");
  CHECK(list.entries[1].name == "shard/1");
  CHECK(sim.ask<name_list>(names, list_names{}).entries.size() == 4);
}

TEST_CASE_FIXTURE(fixture, "a watcher gets present and future entries of its prefix, ends too") {
  publish("shard/0", 1, first);
  publish("replica/0", 1, first);
  const auto seen = std::make_shared<std::vector<directory_entry>>();
  const auto watcher = spawn_watcher(seen);
  caf::anon_send(names, watch_names{"shard/", watcher});
  sim.run();
  REQUIRE(seen->size() == 1);
  CHECK(seen->at(0).name == "shard/0");
  publish("shard/1", 1, second);
  publish("shard/1", 1, second);
  send_exit(second, caf::exit_reason::kill);
  publish("replica/1", 1, first);
  REQUIRE(seen->size() == 4);
  CHECK(seen->at(1).handle == second);
  CHECK_FALSE(seen->at(3).handle);
  CHECK(seen->at(3).incarnation == 1);
}

TEST_CASE_FIXTURE(fixture, "a watcher is forgotten when it ends, and not kept alive") {
  const auto seen = std::make_shared<std::vector<directory_entry>>();
  auto watcher = spawn_watcher(seen);
  const auto weak = caf::actor_cast<caf::weak_actor_ptr>(watcher);
  caf::anon_send(names, watch_names{"", watcher});
  sim.run();
  watcher = nullptr;
  sim.run();
  CHECK_FALSE(caf::actor_cast<caf::strong_actor_ptr>(weak));
  publish("shard/0", 1, first);
  CHECK(seen->empty());
  CHECK(resolve("shard/0").handle == first);
}
