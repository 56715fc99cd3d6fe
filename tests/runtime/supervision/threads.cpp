/// Supervision on the real scheduler and clock, with children that own threads.

#include <future>
#include <set>
#include <thread>

#include <doctest/doctest.h>

#include "runtime/supervision/request.hpp"
#include "runtime/supervision/supervisor.hpp"
#include "tests/simulation/event_log.hpp"

using namespace troupe;
using namespace std::chrono_literals;
using kind = child_event::kind;

namespace {

constexpr auto patience = 20s;

/// An actor system whose actors are told to end with it.
struct fixture {
  system_config config{2};
  caf::actor_system system{config};
  directory_actor names = spawn_directory(system);
  std::shared_ptr<event_log> log = std::make_shared<event_log>();
  caf::actor listener = spawn_log(system, log);

  /// Ends everything and gives the log.
  const event_log& finish() {
    send_exit(caf::actor_cast<caf::actor>(names), caf::exit_reason::user_shutdown);
    // Not before what it has in its mailbox.
    caf::anon_send_exit(listener, caf::exit_reason::user_shutdown);
    system.await_all_actors_done();
    return *log;
  }

  void shut(const supervisor_actor& root) {
    caf::scoped_actor self{system};
    self->request(root, patience, shut_down{}).receive([] {}, [](caf::error& reason) { FAIL(describe(reason)); });
    self->wait_for(root);
  }

  template <class Result, class Handle, class Message>
  Result ask(const Handle& whom, Message message) {
    caf::scoped_actor self{system};
    Result result{};
    self->request(whom, patience, std::move(message))
        .receive([&](Result& x) { result = std::move(x); }, [](caf::error& reason) { FAIL(describe(reason)); });
    return result;
  }

  caf::actor holder(const std::string& name) {
    return ask<directory_entry>(names, resolve_name{name}).handle;
  }
};

child_spec computing_puppet(std::string name) {
  return {std::move(name),
          [](caf::actor_system& system, const child_context&) { return spawn_computing(system, puppet); }};
}

}  // namespace

TEST_CASE_FIXTURE(fixture, "an actor that computes has a thread of its own") {
  const auto where = [](caf::event_based_actor*) -> caf::behavior {
    return {[](bool) { return std::hash<std::thread::id>{}(std::this_thread::get_id()); }};
  };
  std::set<std::uint64_t> threads;
  std::vector<caf::actor> children;
  for (int i = 0; i < 6; ++i)
    children.push_back(spawn_computing(system, where));
  for (int round = 0; round < 3; ++round)
    for (const auto& child : children)
      threads.insert(ask<std::uint64_t>(child, true));
  CHECK(threads.size() == children.size());
  for (const auto& child : children)
    send_exit(child, caf::exit_reason::user_shutdown);
  finish();
}

TEST_CASE_FIXTURE(fixture, "children that are killed at random on many threads are all brought back") {
  constexpr int children = 6;
  constexpr int rounds = 60;
  supervisor_options options;
  options.intensity = 1'000'000;
  SUBCASE("one for one") {
    options.strategy = restart_strategy::one_for_one;
  }
  SUBCASE("one for all") {
    options.strategy = restart_strategy::one_for_all;
  }
  SUBCASE("rest for one") {
    options.strategy = restart_strategy::rest_for_one;
  }
  std::vector<child_spec> specs;
  for (int i = 0; i < children; ++i)
    specs.push_back(computing_puppet("child/" + std::to_string(i)));
  const auto root = spawn_supervisor(system, options, names, specs, listener);

  // Each asker adds up one child's answers, and kills the child now and then.
  std::vector<std::promise<caf::error>> done(children);
  for (int i = 0; i < children; ++i) {
    const auto asker = system.spawn([&, i](caf::event_based_actor* self) -> caf::behavior {
      const auto name = "child/" + std::to_string(i);
      const auto finish = [&done, i, self](const caf::error& reason) {
        done[i].set_value(reason);
        self->quit();
      };
      return {[=, this](int round) {
        if (round == rounds)
          return finish({});
        if (round % 7 == i)
          self->request(names, patience, resolve_name{name})
              .then([](const directory_entry& entry) {
                      send_exit(entry.handle, make_error(errc::killed_by_chaos, "by the test"));
                    },
                    [](caf::error&) {});
        request_by_name(self, names, name, round, {.attempt_within = 5s, .pause = {1ms, 20ms}},
                        [self](int next) { self->send(self, next); }, finish);
      }};
    });
    caf::anon_send(asker, 0);
  }
  for (auto& promise : done) {
    auto result = promise.get_future();
    REQUIRE(result.wait_for(patience) == std::future_status::ready);
    CHECK(describe(result.get()) == "normal");
  }
  shut(root);
  const auto& events = finish();
  CHECK(count(events, kind::restarting) >= children);
  CHECK(count(events, kind::restarting) <= count(events, kind::ended));
  CHECK(count(events, kind::escalated) + count(events, kind::abandoned) == 0);
  CHECK(count(events, kind::started) == count(events, kind::ended) + count(events, kind::stopped));
}

TEST_CASE_FIXTURE(fixture, "a child stuck in a handler is given up, and nobody waits for it") {
  std::promise<void> enter, release;
  child_spec stuck{"stuck", [&](caf::actor_system& system, const child_context& context) {
                     if (context.incarnation > 1)
                       return spawn_computing(system, puppet);
                     return spawn_computing(system, [&](caf::event_based_actor*) -> caf::behavior {
                       return {[&](int) {
                         enter.set_value();
                         release.get_future().wait();
                       }};
                     });
                   }};
  stuck.stop_within = 50ms;
  supervisor_options options;
  options.strategy = restart_strategy::one_for_all;
  options.kill_within = 50ms;
  const auto root = spawn_supervisor(system, options, names, {stuck, computing_puppet("other")}, listener);
  ask<child_list>(root, list_children{});
  caf::anon_send(holder("stuck"), 1);
  enter.get_future().wait();
  SUBCASE("when its sibling fails") {
    caf::anon_send(holder("other"), std::string{"disk full"});
    // Its successor answers.
    const auto asker = system.spawn([&](caf::event_based_actor* me) -> caf::behavior {
      return {[&, me](bool) -> caf::result<int> {
        auto promise = me->make_response_promise<int>();
        request_by_name(me, names, "stuck", 41, {.attempt_within = 300ms, .pause = {10ms}},
                        [promise](int x) mutable { promise.deliver(x); },
                        [promise](const caf::error& reason) mutable { promise.deliver(reason); });
        return promise;
      }};
    });
    CHECK(ask<int>(asker, true) == 42);
    send_exit(asker, caf::exit_reason::user_shutdown);
    CHECK(ask<child_list>(root, list_children{}).abandoned == 1);
  }
  SUBCASE("when all are shut down") {
    // nop
  }
  const auto begin = std::chrono::steady_clock::now();
  shut(root);
  CHECK(std::chrono::steady_clock::now() - begin < 10s);
  release.set_value();
  const auto& events = finish();
  CHECK(count(events, kind::abandoned) == 1);
}
