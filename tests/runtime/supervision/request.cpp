#include "runtime/supervision/request.hpp"

#include <memory>

#include <doctest/doctest.h>

#include "tests/simulation/event_log.hpp"
#include "tests/simulation/simulator.hpp"

using namespace troupe;
using std::chrono::milliseconds;

namespace {

/// Handles requests in one of the ways that go wrong.
caf::behavior mute(caf::event_based_actor* self) {
  return {[self](int) -> caf::result<int> { return self->make_response_promise(); }};
}

caf::behavior refuses(caf::event_based_actor*) {
  return {[](int) -> caf::result<int> { return make_error(errc::bad_input, "ask for version 8"); }};
}

caf::behavior dies_of_it(caf::event_based_actor* self) {
  keep_exceptions(self);
  return {[](int) -> int { throw std::runtime_error("out of cheese"); }};
}

struct fixture {
  simulator sim{1};
  directory_actor names = spawn_directory(sim.system());
  int answer = 0;
  int answers = 0;
  caf::error failure;
  caf::actor asker;

  void publish(std::uint64_t incarnation, const caf::actor& handle) {
    caf::anon_send(names, publish_name{{"adder", incarnation, handle}});
  }

  void ask(retry_policy policy = {}) {
    asker = sim.system().spawn([this, policy](caf::event_based_actor* self) -> caf::behavior {
      request_by_name(self, names, "adder", 41, policy,
                      [this](int x) {
                        answer = x;
                        ++answers;
                      },
                      [this](const caf::error& reason) {
                        failure = reason;
                        ++answers;
                      });
      return {[](bool) {}};
    });
  }
};

}  // namespace

TEST_CASE_FIXTURE(fixture, "a request goes to whoever holds the name") {
  publish(1, sim.system().spawn(puppet));
  ask();
  sim.run();
  CHECK(answer == 42);
  CHECK(answers == 1);
}

TEST_CASE_FIXTURE(fixture, "it waits for a name that is not there yet") {
  ask();
  sim.run_for(milliseconds{3'000});
  CHECK(answers == 0);
  publish(1, sim.system().spawn(puppet));
  sim.run();
  CHECK(answer == 42);
  CHECK(answers == 1);
}

TEST_CASE_FIXTURE(fixture, "it is sent again to the successor of a holder that is dead, mute or dies of it") {
  caf::actor holder;
  SUBCASE("dead") {
    holder = sim.system().spawn(puppet);
    send_exit(holder, caf::exit_reason::kill);
  }
  SUBCASE("mute") {
    holder = sim.system().spawn(mute);
  }
  SUBCASE("dies of it") {
    holder = sim.system().spawn(dies_of_it);
  }
  publish(1, holder);
  ask();
  sim.run_for(milliseconds{5'000});
  CHECK(answers == 0);
  publish(2, sim.system().spawn(puppet));
  sim.run();
  CHECK(answer == 42);
  CHECK(answers == 1);
}

TEST_CASE_FIXTURE(fixture, "an error the holder answers with is an answer") {
  publish(1, sim.system().spawn(refuses));
  ask();
  sim.run();
  CHECK(describe(failure) == "bad input: ask for version 8");
  CHECK(answers == 1);
}

TEST_CASE_FIXTURE(fixture, "it gives up after so many attempts, and says why") {
  publish(1, sim.system().spawn(mute));
  ask({.attempts_max = 3, .attempt_within = milliseconds{100}, .pause = {milliseconds{0}}});
  sim.run();
  CHECK(describe(failure)
        == "timed out: adder: system_error(request_timeout); gave up after 3 attempts in 0.3 s");
  CHECK(answers == 1);
}

TEST_CASE_FIXTURE(fixture, "it never takes longer than it may") {
  const auto begin = sim.clock().now();
  SUBCASE("nobody has the name") {
    // nop
  }
  SUBCASE("the holder is mute") {
    publish(1, sim.system().spawn(mute));
  }
  SUBCASE("the holder is dead") {
    const auto holder = sim.system().spawn(puppet);
    publish(1, holder);
    send_exit(holder, caf::exit_reason::kill);
  }
  SUBCASE("the directory is dead") {
    send_exit(caf::actor_cast<caf::actor>(names), caf::exit_reason::kill);
  }
  ask({.attempts_max = 1'000'000, .attempt_within = milliseconds{700}, .within = milliseconds{5'000}});
  sim.run_until([&] { return answers > 0; });
  CHECK(is(failure, errc::timed_out));
  CHECK(sim.clock().now() - begin <= milliseconds{5'001});
  sim.run();
  CHECK(answers == 1);
}

TEST_CASE_FIXTURE(fixture, "when the asker ends, so does its request") {
  ask();
  sim.run_for(milliseconds{100});
  send_exit(asker, caf::exit_reason::kill);
  sim.run();
  CHECK(answers == 0);
}

TEST_CASE("a typed actor asks a typed actor, on behalf of another") {
  using adder = caf::typed_actor<caf::replies_to<int>::with<int>>;
  simulator sim{1};
  const auto names = spawn_directory(sim.system());
  const auto server = sim.system().spawn([](adder::pointer) -> adder::behavior_type {
    return {[](int x) { return x + 1; }};
  });
  caf::anon_send(names, publish_name{{"adder", 1, caf::actor_cast<caf::actor>(server)}});
  const auto proxy = sim.system().spawn([names](adder::pointer self) -> adder::behavior_type {
    return {[=](int x) -> caf::result<int> {
      auto promise = self->make_response_promise<int>();
      request_by_name<adder>(self, names, "adder", x, {},
                             [promise](int y) mutable { promise.deliver(y); },
                             [promise](const caf::error& reason) mutable { promise.deliver(reason); });
      return promise;
    }};
  });
  CHECK(sim.ask<int>(proxy, 41) == 42);
}
