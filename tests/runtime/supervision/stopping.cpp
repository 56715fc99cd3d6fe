/// How a supervisor and its children end, and children that come and go.

#include "tests/runtime/supervision/supervised.hpp"

#include <stdexcept>

#include <doctest/doctest.h>

using namespace troupe;
using std::chrono::milliseconds;
using kind = child_event::kind;

namespace {

/// Does not end when it is told to: at most when it is killed.
caf::behavior stubborn(caf::event_based_actor* self) {
  self->set_exit_handler([](caf::exit_msg&) {});
  return {[](int x) { return x + 1; }};
}

}  // namespace

// -- stopping ------------------------------------------------------------------

TEST_CASE_FIXTURE(supervised, "shut_down stops in reverse order and answers at the end") {
  supervise({}, {puppet_spec("a"), puppet_spec("b"), puppet_spec("c")});
  log->clear();
  CHECK_FALSE(outcome_of(shut_down{}));
  settle();
  CHECK(log_from_here() == "stopped c 1, stopped b 1, stopped a 1");
  CHECK(ended);
  CHECK_FALSE(end);
}

TEST_CASE_FIXTURE(supervised, "shut_down during a back-off starts nobody") {
  supervisor_options options;
  options.backoff_first = milliseconds{1'000};
  supervise(options, {puppet_spec("a"), puppet_spec("b")});
  fail("a");
  log->clear();
  CHECK_FALSE(outcome_of(shut_down{}));
  sim.run();
  CHECK(log_from_here() == "stopped b 1");
}

TEST_CASE_FIXTURE(supervised, "who does not stop in time is killed") {
  auto spec = puppet_spec("b");
  spec.start = [](caf::actor_system& system, const child_context&) { return system.spawn(stubborn); };
  spec.stop_within = milliseconds{2'000};
  supervise({}, {puppet_spec("a"), spec, puppet_spec("c")});
  log->clear();
  const auto begin = sim.clock().now();
  CHECK_FALSE(outcome_of(shut_down{}));
  CHECK(sim.clock().now() - begin >= milliseconds{2'000});
  CHECK(sim.clock().now() - begin < milliseconds{2'100});
  CHECK(log->at(1).reason == caf::exit_reason::kill);
  CHECK(log_from_here() == "stopped c 1, stopped b 1, stopped a 1");
}

TEST_CASE_FIXTURE(supervised, "killed from outside, it takes its children down with it, grandchildren too") {
  child_spec nested{"inner", [this](caf::actor_system& system, const child_context& context) {
                      supervisor_options options;
                      options.name = context.name;
                      return caf::actor_cast<caf::actor>(
                          spawn_supervisor(system, options, context.names, {puppet_spec("leaf")}, listener));
                    }};
  supervise({}, {puppet_spec("a"), nested});
  settle();
  const auto a = entry("a").handle;
  const auto leaf = entry("leaf").handle;
  SUBCASE("by kill") {
    send_exit(caf::actor_cast<caf::actor>(root), caf::exit_reason::kill);
  }
  SUBCASE("by chaos") {
    send_exit(caf::actor_cast<caf::actor>(root), make_error(errc::killed_by_chaos, "test"));
  }
  SUBCASE("because nobody has its handle any more") {
    root = supervisor_actor{};
  }
  SUBCASE("in order") {
    send_exit(caf::actor_cast<caf::actor>(root), caf::exit_reason::user_shutdown);
  }
  settle(milliseconds{15'000});
  CHECK(simulator::has_ended(a));
  CHECK(simulator::has_ended(leaf));
  CHECK_FALSE(entry("a").handle);
  CHECK_FALSE(entry("inner").handle);
}

// -- nesting -------------------------------------------------------------------

TEST_CASE_FIXTURE(supervised, "a supervisor that gives up is restarted by its own, and incarnations go on rising") {
  child_spec nested{"inner", [this](caf::actor_system& system, const child_context& context) {
                      supervisor_options options;
                      options.name = context.name;
                      options.intensity = 1;
                      return caf::actor_cast<caf::actor>(
                          spawn_supervisor(system, options, context.names, {puppet_spec("leaf")}, listener));
                    }};
  supervisor_options options;
  options.name = "outer";
  options.intensity = 1;
  supervise(options, {nested});
  settle();
  fail("leaf");
  fail("leaf");
  CHECK(entry("inner").incarnation == 2);
  CHECK(entry("leaf").incarnation == 3);
  CHECK(sim.ask<int>(entry("leaf").handle, 1) == 2);
  fail("leaf");
  fail("leaf", "out of memory");
  CHECK(ended);
  CHECK(root_cause(end) == "leaf: out of memory; after 1 restarts in 60 s supervisor 'inner' gave up; "
                           "after 1 restarts in 60 s supervisor 'outer' gave up");
}

// -- children that come and go -------------------------------------------------

TEST_CASE_FIXTURE(supervised, "children are added and removed") {
  supervise({}, {puppet_spec("a")});
  const auto b = sim.ask<caf::actor>(root, start_child{puppet_spec("b")});
  CHECK(sim.ask<int>(b, 1) == 2);
  CHECK(entry("b").handle == b);
  fail("b");
  CHECK(entry("b").incarnation == 2);
  CHECK(describe(refusal(start_child{puppet_spec("b")}))
        == "bad input: b: supervisor 'supervisor' has a child of this name; choose another, or stop that one first");
  log->clear();
  CHECK_FALSE(outcome_of(stop_child{"b"}));
  CHECK(log_from_here() == "stopped b 2");
  CHECK_FALSE(entry("b").handle);
  CHECK(describe(outcome_of(stop_child{"b"})) == "unknown name: b: supervisor 'supervisor' has no such child");
  sim.ask<caf::actor>(root, start_child{puppet_spec("b")});
  CHECK(entry("b").incarnation == 3);
}

TEST_CASE_FIXTURE(supervised, "a child added that cannot start is the asker's concern") {
  supervise({}, {puppet_spec("a")});
  auto wrong = puppet_spec("b");
  wrong.start = [](caf::actor_system&, const child_context&) -> caf::actor { throw std::runtime_error("no memory"); };
  CHECK(root_cause(refusal(start_child{wrong})) == "no memory");
  CHECK(sim.ask<child_list>(root, list_children{}).children.size() == 1);
  CHECK(count(*log, kind::restarting) == 0);
}

TEST_CASE_FIXTURE(supervised, "a child added during a restart starts after those before it") {
  auto options = with(restart_strategy::one_for_all);
  options.backoff_first = milliseconds{1'000};
  supervise(options, {puppet_spec("a"), puppet_spec("b")});
  log->clear();
  fail("a");
  sim.ask<caf::actor>(root, start_child{puppet_spec("c")});
  CHECK(log_from_here() == "ended a 1, restarting a 1, stopped b 1, started a 2, started b 2, started c 1");
}

TEST_CASE_FIXTURE(supervised, "a request that can no longer be met is answered") {
  auto options = with(restart_strategy::one_for_all);
  options.backoff_first = milliseconds{1'000};
  supervise(options, {puppet_spec("a")});
  fail("a");
  caf::scoped_actor self{sim.system()};
  auto response = self->request(root, caf::infinite, start_child{puppet_spec("b")});
  settle();
  SUBCASE("it shuts down") {
    caf::anon_send(root, shut_down{});
  }
  SUBCASE("it is killed") {
    send_exit(caf::actor_cast<caf::actor>(root), caf::exit_reason::kill);
  }
  SUBCASE("the child is stopped first") {
    caf::anon_send(root, stop_child{"b"});
  }
  settle();
  REQUIRE(self->has_next_message());
  response.receive([](const caf::actor&) { FAIL("it was started"); },
                   [](const caf::error& reason) { CHECK(is(reason, errc::escalated)); });
}

TEST_CASE_FIXTURE(supervised, "wiring faults are refused at once") {
  CHECK_THROWS_AS(spawn_supervisor(sim.system(), {}, names, {puppet_spec("a"), puppet_spec("a")}),
                  std::invalid_argument);
  CHECK_THROWS_AS(spawn_supervisor(sim.system(), {}, directory_actor{}, {puppet_spec("a")}), std::invalid_argument);
}

TEST_CASE_FIXTURE(supervised, "without a directory it does not start") {
  send_exit(caf::actor_cast<caf::actor>(names), caf::exit_reason::kill);
  supervise({}, {puppet_spec("a")});
  settle();
  CHECK(ended);
  CHECK(root_cause(end)
        == "directory: system_error(request_receiver_down); supervisor 'supervisor' could not start");
}
