/// What a supervisor does about failures: strategies, restart kinds, intensity, back-off, escalation.

#include "tests/runtime/supervision/supervised.hpp"

#include <stdexcept>

#include <doctest/doctest.h>

#include "runtime/error.hpp"

using namespace troupe;
using std::chrono::milliseconds;
using kind = child_event::kind;

// -- strategies ----------------------------------------------------------------

TEST_CASE_FIXTURE(supervised, "children start in order and are published") {
  supervise({}, {puppet_spec("a"), puppet_spec("b"), puppet_spec("c")});
  CHECK(log_from_here() == "started a 1, started b 1, started c 1");
  CHECK(entry("b").handle == sim.ask<child_list>(root, list_children{}).children.at(1).handle);
  CHECK(sim.ask<int>(entry("b").handle, 1) == 2);
}

TEST_CASE_FIXTURE(supervised, "one-for-one restarts the child that failed") {
  supervise(with(restart_strategy::one_for_one), {puppet_spec("a"), puppet_spec("b"), puppet_spec("c")});
  log->clear();
  fail("b");
  CHECK(log->at(0).explanation == "b: disk full");
  CHECK(log->at(1).explanation == "b: disk full; restart 1 of at most 5 in 60 s");
  CHECK(log_from_here() == "ended b 1, restarting b 1, started b 2");
  CHECK(entry("b").incarnation == 2);
  CHECK(sim.ask<int>(entry("b").handle, 1) == 2);
}

TEST_CASE_FIXTURE(supervised, "one-for-all stops the others in reverse order and starts all in order") {
  supervise(with(restart_strategy::one_for_all), {puppet_spec("a"), puppet_spec("b"), puppet_spec("c")});
  log->clear();
  fail("b");
  CHECK(log_from_here()
        == "ended b 1, restarting b 1, stopped c 1, stopped a 1, started a 2, started b 2, started c 2");
}

TEST_CASE_FIXTURE(supervised, "rest-for-one concerns those started later") {
  supervise(with(restart_strategy::rest_for_one),
            {puppet_spec("a"), puppet_spec("b"), puppet_spec("c"), puppet_spec("d")});
  log->clear();
  fail("b");
  CHECK(log_from_here()
        == "ended b 1, restarting b 1, stopped d 1, stopped c 1, started b 2, started c 2, started d 2");
  CHECK(entry("a").incarnation == 1);
}

// -- restart kinds -------------------------------------------------------------

TEST_CASE_FIXTURE(supervised, "restart kinds decide after a normal end and after a failure") {
  supervise({}, {puppet_spec("permanent"), puppet_spec("transient", restart_kind::transient),
                 puppet_spec("temporary", restart_kind::temporary)});
  log->clear();
  tell("permanent", true);
  CHECK(log_from_here() == "ended permanent 1, restarting permanent 1, started permanent 2");
  fail("transient");
  CHECK(log_from_here() == "ended transient 1, restarting transient 1, started transient 2");
  tell("transient", true);
  CHECK(log_from_here() == "ended transient 2");
  fail("temporary");
  CHECK(log_from_here() == "ended temporary 1");
  const auto list = sim.ask<child_list>(root, list_children{});
  REQUIRE(list.children.size() == 2);
  CHECK(list.children[0].handle);
  CHECK_FALSE(list.children[1].handle);
  CHECK(list.restarts == 2);
}

TEST_CASE_FIXTURE(supervised, "a restart of all leaves out who has finished and who is temporary") {
  supervise(with(restart_strategy::one_for_all),
            {puppet_spec("a", restart_kind::transient), puppet_spec("b", restart_kind::temporary), puppet_spec("c")});
  tell("a", true);
  log->clear();
  fail("c");
  CHECK(log_from_here() == "ended c 1, restarting c 1, stopped b 1, started c 2");
}

// -- intensity, back-off, escalation -------------------------------------------

TEST_CASE_FIXTURE(supervised, "past its intensity it stops the children in reverse and fails, root cause first") {
  auto options = with(restart_strategy::one_for_one);
  options.intensity = 2;
  supervise(options, {puppet_spec("a"), puppet_spec("shard/3"), puppet_spec("z")});
  fail("shard/3");
  fail("a", "too hot");
  log->clear();
  fail("shard/3", "disk full");
  CHECK(ended);
  CHECK(is(end, errc::escalated));
  CHECK(root_cause(end) == "shard/3: disk full; after 2 restarts in 60 s supervisor 'shards' gave up");
  CHECK(log->at(1).explanation == root_cause(end));
  CHECK(log_from_here() == "ended shard/3 2, escalated shard/3 2, stopped z 1, stopped a 2");
  CHECK_FALSE(entry("z").handle);
}

TEST_CASE_FIXTURE(supervised, "only restarts within the window count") {
  supervisor_options options;
  options.intensity = 2;
  options.window = milliseconds{10'000};
  supervise(options, {puppet_spec("a")});
  for (int i = 0; i < 6; ++i) {
    fail("a");
    settle(milliseconds{5'000});
  }
  CHECK_FALSE(ended);
  CHECK(entry("a").incarnation == 7);
  fail("a");
  fail("a");
  CHECK(ended);
}

TEST_CASE_FIXTURE(supervised, "restarts wait longer and longer, and seeded jitter repeats itself") {
  supervisor_options options;
  options.backoff_first = milliseconds{1'000};
  options.backoff_max = milliseconds{3'000};
  options.jitter = 0;
  supervise(options, {puppet_spec("a"), puppet_spec("b")});
  std::vector<milliseconds> delays;
  for (int i = 0; i < 4; ++i) {
    const auto failed_at = sim.clock().now();
    caf::anon_send(entry("a").handle, std::string{"disk full"});
    log->clear();
    sim.run_until([&] { return count(*log, kind::started) == 1; });
    delays.push_back(log->at(1).delay);
    CHECK(sim.clock().now() - failed_at >= delays.back());
    CHECK(sim.clock().now() - failed_at < delays.back() + milliseconds{10});
  }
  CHECK(delays == std::vector{milliseconds{1'000}, milliseconds{2'000}, milliseconds{3'000}, milliseconds{3'000}});
}

TEST_CASE_FIXTURE(supervised, "others fail and are restarted while one waits for its back-off") {
  auto options = with(restart_strategy::one_for_one);
  options.backoff_first = milliseconds{1'000};
  options.jitter = 0;
  supervise(options, {puppet_spec("a"), puppet_spec("b")});
  log->clear();
  fail("a");
  CHECK_FALSE(entry("a").handle);
  CHECK_FALSE(sim.ask<child_list>(root, list_children{}).children.at(0).handle);
  fail("b");
  settle(milliseconds{5'000});
  CHECK(log_from_here() == "ended a 1, restarting a 1, ended b 1, restarting b 1, started a 2, started b 2");
}

TEST_CASE_FIXTURE(supervised, "a failure during a restart of the rest widens it") {
  auto options = with(restart_strategy::rest_for_one);
  options.backoff_first = milliseconds{1'000};
  options.jitter = 0;
  supervise(options, {puppet_spec("a"), puppet_spec("b"), puppet_spec("c")});
  log->clear();
  fail("b");
  fail("a");
  settle(milliseconds{5'000});
  CHECK(log_from_here()
        == "ended b 1, restarting b 1, stopped c 1, ended a 1, restarting a 1, started a 2, started b 2, started c 2");
}

TEST_CASE_FIXTURE(supervised, "a start that throws is a failure") {
  int failures = 3;
  auto flaky = puppet_spec("b");
  flaky.start = [&](caf::actor_system& system, const child_context&) -> caf::actor {
    if (failures-- > 0)
      throw std::runtime_error("no space left");
    return system.spawn(puppet);
  };
  supervise(with(restart_strategy::rest_for_one), {puppet_spec("a"), flaky, puppet_spec("c")});
  settle();
  CHECK(log->at(1).explanation == "b: no space left; it could not start");
  CHECK(log_from_here()
        == "started a 1, ended b 1, restarting b 1, ended b 2, restarting b 2, ended b 3, restarting b 3, "
           "started b 4, started c 1");
}

TEST_CASE_FIXTURE(supervised, "starts that never succeed escalate") {
  auto hopeless = puppet_spec("b");
  hopeless.start = [](caf::actor_system&, const child_context&) -> caf::actor {
    throw std::runtime_error("no space left");
  };
  supervisor_options options;
  options.intensity = 3;
  supervise(options, {puppet_spec("a"), hopeless});
  settle();
  CHECK(root_cause(end)
        == "b: no space left; after 3 restarts in 60 s supervisor 'supervisor' gave up");
}

TEST_CASE_FIXTURE(supervised, "a child without a place waits for one, and that counts as nothing") {
  int refusals = 30;
  auto homeless = puppet_spec("b");
  homeless.start = [&](caf::actor_system& system, const child_context&) {
    return refusals-- > 0 ? caf::actor{} : system.spawn(puppet);
  };
  supervisor_options options;
  options.intensity = 0;
  supervise(options, {puppet_spec("a"), homeless, puppet_spec("c")});
  settle(milliseconds{5'000});
  CHECK(refusals < 0);
  CHECK(log_from_here() == "started a 1, started c 1, started b 1");
}

TEST_CASE_FIXTURE(supervised, "the loss of a node and a move are not held against a child") {
  supervisor_options options;
  options.intensity = 0;
  supervise(options, {puppet_spec("a")});
  for (const auto why : {errc::node_lost, errc::moved}) {
    send_exit(entry("a").handle, make_error(why, "node 3: the connection was closed"));
    settle();
  }
  CHECK(log_from_here()
        == "started a 1, ended a 1, restarting a 1, started a 2, ended a 2, restarting a 2, started a 3");
}

TEST_CASE_FIXTURE(supervised, "bad input is not tried twice") {
  auto wrong = puppet_spec("b");
  wrong.start = [](caf::actor_system&, const child_context&) -> caf::actor {
    throw input_error("corpus.txt: not valid UTF-8 at byte 17");
  };
  supervise({}, {puppet_spec("a"), wrong});
  settle();
  CHECK(log_from_here() == "started a 1, ended b 1, escalated b 1, stopped a 1");
  CHECK(is(end, errc::bad_input));
  CHECK(root_cause(end) == "corpus.txt: not valid UTF-8 at byte 17");
}
