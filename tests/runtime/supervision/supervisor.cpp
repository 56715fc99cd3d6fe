#include "runtime/supervision/supervisor.hpp"

#include <memory>
#include <stdexcept>

#include <doctest/doctest.h>

#include "runtime/error.hpp"
#include "tests/simulation/event_log.hpp"
#include "tests/simulation/simulator.hpp"

using namespace troupe;
using std::chrono::milliseconds;
using kind = child_event::kind;

namespace {

/// Does not end when it is told to: at most when it is killed.
caf::behavior stubborn(caf::event_based_actor* self) {
  self->set_exit_handler([](caf::exit_msg&) {});
  return {[](int x) { return x + 1; }};
}

struct fixture {
  simulator sim{1, {.slowness = 0}};
  directory_actor names = spawn_directory(sim.system());
  std::shared_ptr<event_log> log = std::make_shared<event_log>();
  caf::actor listener = spawn_log(sim.system(), log);
  supervisor_actor root;
  caf::error end;  ///< of root
  bool ended = false;
  caf::actor undertaker;

  void supervise(const supervisor_options& options, std::vector<child_spec> children) {
    root = spawn_supervisor(sim.system(), options, names, std::move(children), listener);
    undertaker = sim.system().spawn([this](caf::event_based_actor* self) -> caf::behavior {
      self->set_down_handler([this](caf::down_msg& down) {
        end = down.reason;
        ended = true;
      });
      self->monitor(root);
      return {[](bool) {}};
    });
    sim.run_for(milliseconds{1});
  }

  void settle(milliseconds time = milliseconds{100}) {
    sim.run_for(time);
  }

  directory_entry entry(const std::string& name) {
    return sim.ask<directory_entry>(names, resolve_name{name});
  }

  template <class Message>
  void tell(const std::string& name, Message message) {
    caf::anon_send(entry(name).handle, std::move(message));
    settle();
  }

  void fail(const std::string& name, const std::string& why = "disk full") {
    tell(name, why);
  }

  /// What was logged since the last call.
  std::string log_from_here() {
    settle(milliseconds{1});
    auto text = in_short(*log);
    log->clear();
    return text;
  }

  template <class Message>
  caf::error refusal(Message message) {
    caf::scoped_actor self{sim.system()};
    auto response = self->request(root, caf::infinite, std::move(message));
    sim.run_until([&] { return self->has_next_message(); });
    caf::error result;
    response.receive([](const caf::actor&) {}, [&](caf::error& reason) { result = reason; });
    return result;
  }

  /// The same for a message that is answered without content.
  template <class Message>
  caf::error outcome_of(Message message) {
    caf::scoped_actor self{sim.system()};
    auto response = self->request(root, caf::infinite, std::move(message));
    sim.run_until([&] { return self->has_next_message(); });
    caf::error result;
    response.receive([] {}, [&](caf::error& reason) { result = reason; });
    return result;
  }
};

supervisor_options with(restart_strategy strategy) {
  supervisor_options options;
  options.name = "shards";
  options.strategy = strategy;
  return options;
}

}  // namespace

// -- strategies ----------------------------------------------------------------

TEST_CASE_FIXTURE(fixture, "children start in order and are published") {
  supervise({}, {puppet_spec("a"), puppet_spec("b"), puppet_spec("c")});
  CHECK(log_from_here() == "started a 1, started b 1, started c 1");
  CHECK(entry("b").handle == sim.ask<child_list>(root, list_children{}).children.at(1).handle);
  CHECK(sim.ask<int>(entry("b").handle, 1) == 2);
}

TEST_CASE_FIXTURE(fixture, "one-for-one restarts the child that failed") {
  supervise(with(restart_strategy::one_for_one), {puppet_spec("a"), puppet_spec("b"), puppet_spec("c")});
  log->clear();
  fail("b");
  CHECK(log->at(0).explanation == "b: disk full");
  CHECK(log->at(1).explanation == "b: disk full; restart 1 of at most 5 in 60 s");
  CHECK(log_from_here() == "ended b 1, restarting b 1, started b 2");
  CHECK(entry("b").incarnation == 2);
  CHECK(sim.ask<int>(entry("b").handle, 1) == 2);
}

TEST_CASE_FIXTURE(fixture, "one-for-all stops the others in reverse order and starts all in order") {
  supervise(with(restart_strategy::one_for_all), {puppet_spec("a"), puppet_spec("b"), puppet_spec("c")});
  log->clear();
  fail("b");
  CHECK(log_from_here()
        == "ended b 1, restarting b 1, stopped c 1, stopped a 1, started a 2, started b 2, started c 2");
}

TEST_CASE_FIXTURE(fixture, "rest-for-one concerns those started later") {
  supervise(with(restart_strategy::rest_for_one),
            {puppet_spec("a"), puppet_spec("b"), puppet_spec("c"), puppet_spec("d")});
  log->clear();
  fail("b");
  CHECK(log_from_here()
        == "ended b 1, restarting b 1, stopped d 1, stopped c 1, started b 2, started c 2, started d 2");
  CHECK(entry("a").incarnation == 1);
}

// -- restart kinds -------------------------------------------------------------

TEST_CASE_FIXTURE(fixture, "restart kinds decide after a normal end and after a failure") {
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

TEST_CASE_FIXTURE(fixture, "a restart of all leaves out who has finished and who is temporary") {
  supervise(with(restart_strategy::one_for_all),
            {puppet_spec("a", restart_kind::transient), puppet_spec("b", restart_kind::temporary), puppet_spec("c")});
  tell("a", true);
  log->clear();
  fail("c");
  CHECK(log_from_here() == "ended c 1, restarting c 1, stopped b 1, started c 2");
}

// -- intensity, back-off, escalation -------------------------------------------

TEST_CASE_FIXTURE(fixture, "past its intensity it stops the children in reverse and fails, root cause first") {
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

TEST_CASE_FIXTURE(fixture, "only restarts within the window count") {
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

TEST_CASE_FIXTURE(fixture, "restarts wait longer and longer, and seeded jitter repeats itself") {
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

TEST_CASE_FIXTURE(fixture, "others fail and are restarted while one waits for its back-off") {
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

TEST_CASE_FIXTURE(fixture, "a failure during a restart of the rest widens it") {
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

TEST_CASE_FIXTURE(fixture, "a start that throws is a failure") {
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

TEST_CASE_FIXTURE(fixture, "starts that never succeed escalate") {
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

TEST_CASE_FIXTURE(fixture, "a child without a place waits for one, and that counts as nothing") {
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

TEST_CASE_FIXTURE(fixture, "the loss of a node and a move are not held against a child") {
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

TEST_CASE_FIXTURE(fixture, "bad input is not tried twice") {
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

// -- stopping ------------------------------------------------------------------

TEST_CASE_FIXTURE(fixture, "shut_down stops in reverse order and answers at the end") {
  supervise({}, {puppet_spec("a"), puppet_spec("b"), puppet_spec("c")});
  log->clear();
  CHECK_FALSE(outcome_of(shut_down{}));
  settle();
  CHECK(log_from_here() == "stopped c 1, stopped b 1, stopped a 1");
  CHECK(ended);
  CHECK_FALSE(end);
}

TEST_CASE_FIXTURE(fixture, "shut_down during a back-off starts nobody") {
  supervisor_options options;
  options.backoff_first = milliseconds{1'000};
  supervise(options, {puppet_spec("a"), puppet_spec("b")});
  fail("a");
  log->clear();
  CHECK_FALSE(outcome_of(shut_down{}));
  sim.run();
  CHECK(log_from_here() == "stopped b 1");
}

TEST_CASE_FIXTURE(fixture, "who does not stop in time is killed") {
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

TEST_CASE_FIXTURE(fixture, "killed from outside, it takes its children down with it, grandchildren too") {
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

TEST_CASE_FIXTURE(fixture, "a supervisor that gives up is restarted by its own, and incarnations go on rising") {
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

TEST_CASE_FIXTURE(fixture, "children are added and removed") {
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

TEST_CASE_FIXTURE(fixture, "a child added that cannot start is the asker's concern") {
  supervise({}, {puppet_spec("a")});
  auto wrong = puppet_spec("b");
  wrong.start = [](caf::actor_system&, const child_context&) -> caf::actor { throw std::runtime_error("no memory"); };
  CHECK(root_cause(refusal(start_child{wrong})) == "no memory");
  CHECK(sim.ask<child_list>(root, list_children{}).children.size() == 1);
  CHECK(count(*log, kind::restarting) == 0);
}

TEST_CASE_FIXTURE(fixture, "a child added during a restart starts after those before it") {
  auto options = with(restart_strategy::one_for_all);
  options.backoff_first = milliseconds{1'000};
  supervise(options, {puppet_spec("a"), puppet_spec("b")});
  log->clear();
  fail("a");
  sim.ask<caf::actor>(root, start_child{puppet_spec("c")});
  CHECK(log_from_here() == "ended a 1, restarting a 1, stopped b 1, started a 2, started b 2, started c 1");
}

TEST_CASE_FIXTURE(fixture, "a request that can no longer be met is answered") {
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

TEST_CASE_FIXTURE(fixture, "wiring faults are refused at once") {
  CHECK_THROWS_AS(spawn_supervisor(sim.system(), {}, names, {puppet_spec("a"), puppet_spec("a")}),
                  std::invalid_argument);
  CHECK_THROWS_AS(spawn_supervisor(sim.system(), {}, directory_actor{}, {puppet_spec("a")}), std::invalid_argument);
}

TEST_CASE_FIXTURE(fixture, "without a directory it does not start") {
  send_exit(caf::actor_cast<caf::actor>(names), caf::exit_reason::kill);
  supervise({}, {puppet_spec("a")});
  settle();
  CHECK(ended);
  CHECK(root_cause(end)
        == "directory: system_error(request_receiver_down); supervisor 'supervisor' could not start");
}
