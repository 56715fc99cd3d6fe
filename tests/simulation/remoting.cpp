/// Handles to remote actors over a simulated network: order, identity, monitoring, fencing, loss.

#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "runtime/probe.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"
#include "tests/seeds.hpp"
#include "tests/simulation/bare_node.hpp"

namespace troupe {

namespace {

struct numbered {
  std::uint64_t value = 0;
  std::vector<std::string> notes;
  std::optional<tensor> payload;
};

struct introduce {
  caf::actor friend_;
};

message_codecs codecs() {
  message_codecs all;
  all.add<numbered>("numbered");
  all.add<introduce>("introduce");
  return all;
}

}  // namespace

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::numbered)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::introduce)

namespace troupe {

namespace {

struct two_nodes {
  explicit two_nodes(std::uint64_t seed) : sim(seed), wire(sim), a(sim, wire, 0, codecs()), b(sim, wire, 1, codecs()) {
    a.dial(b);
    sim.run();
  }

  simulator sim;
  simulated_wire wire;
  bare_node a, b;
};

using note_list = std::shared_ptr<std::vector<std::string>>;

/// Writes down what it gets; says hello to whoever it is introduced to.
caf::actor spawn_listener(caf::actor_system& system, const note_list& notes) {
  return system.spawn([notes](caf::event_based_actor* self) -> caf::behavior {
    self->set_down_handler([notes](const caf::down_msg& down) { notes->push_back("down " + describe(down.reason)); });
    return {
        [notes](const numbered& message) { notes->push_back(std::to_string(message.value)); },
        [self](const introduce& message) {
          self->monitor(message.friend_);
          tell(self, message.friend_, numbered{42, {}, {}});
        },
    };
  });
}

void say(const caf::actor& to, std::uint64_t value) { caf::anon_send(to, numbered{value, {"a", ""}, {}}); }

}  // namespace

TEST_CASE("messages to a remote handle arrive in order, also those that come before their receiver") {
  reset_probes();
  for_each_seed(20, [](std::uint64_t seed) {
    two_nodes nodes(seed);
    const auto notes = std::make_shared<std::vector<std::string>>();
    const auto far = nodes.a.post->handle({1, "listener", 1});
    std::vector<std::string> expected;
    for (std::uint64_t i = 0; i < 20; ++i) {
      if (i == seed % 20) {
        nodes.sim.run_for(std::chrono::milliseconds{nodes.sim.draw(30)});
        nodes.b.post->host("listener", 1, spawn_listener(nodes.sim.system(), notes));
      }
      say(far, i);
      expected.push_back(std::to_string(i));
    }
    nodes.sim.run();
    CHECK(*notes == expected);
    CHECK(nodes.b.post->counters().received == 20);
  });
  if (std::getenv("TROUPE_SEED") == nullptr)
    CHECK(probe_counts()["remoting: a parcel came before its receiver"] > 0);
}

TEST_CASE("a handle to somebody who is yet to be spawned here reaches him, and ends with him") {
  two_nodes nodes(6);
  const auto notes = std::make_shared<std::vector<std::string>>();
  const auto early = nodes.a.post->handle({0, "late", 1});
  const auto watcher = spawn_listener(nodes.sim.system(), notes);
  caf::anon_send(watcher, introduce{early});  // says 42
  nodes.sim.run();
  const auto late_notes = std::make_shared<std::vector<std::string>>();
  const auto late = spawn_listener(nodes.sim.system(), late_notes);
  nodes.a.post->host("late", 1, late);
  CHECK(nodes.a.post->handle({0, "late", 1}) == late);
  say(early, 1);
  nodes.sim.run();
  CHECK(*late_notes == std::vector<std::string>{"42", "1"});
  send_exit(late, make_error(errc::moved, "enough"));
  nodes.sim.run();
  CHECK(*notes == std::vector<std::string>{"down moved: enough"});
  say(early, 2);
  CHECK_FALSE(nodes.a.post->handle({0, "late", 1}));
}

TEST_CASE("a handle sent in a message reaches the same actor from the other side, and can be monitored there") {
  two_nodes nodes(1);
  const auto far_notes = std::make_shared<std::vector<std::string>>();
  const auto near_notes = std::make_shared<std::vector<std::string>>();
  nodes.b.post->host("far", 1, spawn_listener(nodes.sim.system(), far_notes));
  const auto near = spawn_listener(nodes.sim.system(), near_notes);
  caf::anon_send(nodes.a.post->handle({1, "far", 1}), introduce{near});
  nodes.sim.run();
  CHECK(*near_notes == std::vector<std::string>{"42"});
  send_exit(near, make_error(errc::killed_by_chaos, "enough"));
  nodes.sim.run();
  CHECK(*far_notes == std::vector<std::string>{"down killed by chaos: enough"});
}

TEST_CASE("an exit message travels, and the end comes back with its reason") {
  two_nodes nodes(2);
  const auto notes = std::make_shared<std::vector<std::string>>();
  const auto watcher = spawn_listener(nodes.sim.system(), notes);
  nodes.b.post->host("victim", 3, spawn_listener(nodes.sim.system(), notes));
  const auto victim = nodes.a.post->handle({1, "victim", 3});
  CHECK(nodes.a.post->handle({1, "victim", 3}) == victim);
  caf::anon_send(watcher, introduce{victim});
  nodes.sim.run();
  send_exit(victim, make_error(errc::moved, "elsewhere"));
  nodes.sim.run();
  CHECK(*notes == std::vector<std::string>{"42", "down moved: elsewhere"});
}

TEST_CASE("what is addressed to an earlier incarnation, or to nobody who lives, is dropped and counted") {
  two_nodes nodes(3);
  const auto notes = std::make_shared<std::vector<std::string>>();
  const auto first = nodes.a.post->handle({1, "one", 1});
  say(first, 1);
  nodes.sim.run();
  nodes.b.post->host("one", 2, spawn_listener(nodes.sim.system(), notes));
  say(first, 2);
  say(nodes.a.post->handle({1, "one", 2}), 3);
  nodes.sim.run();
  CHECK(*notes == std::vector<std::string>{"3"});
  CHECK(nodes.b.post->counters().stale_dropped == 2);
}

TEST_CASE("of two incarnations in one place the later one lives on, whichever came first") {
  for (const bool later_first : {false, true}) {
    CAPTURE(later_first);
    two_nodes nodes(5);
    const auto notes = std::make_shared<std::vector<std::string>>();
    const auto first = spawn_listener(nodes.sim.system(), notes), second = spawn_listener(nodes.sim.system(), notes);
    if (later_first)
      nodes.b.post->host("one", 2, second);
    nodes.b.post->host("one", 1, first);
    if (!later_first)
      nodes.b.post->host("one", 2, second);
    // What its supervisor has to say to the earlier one is too late by now.
    send_exit(nodes.a.post->handle({1, "one", 1}), caf::exit_reason::kill);
    nodes.sim.run();
    CHECK(simulator::has_ended(first));
    CHECK(!simulator::has_ended(second));
    CHECK(nodes.b.post->handle({1, "one", 2}) == second);
  }
}

TEST_CASE("when a node is lost, handles to its actors end with the evidence; later ones are born dead") {
  for (const bool partitioned : {false, true}) {
    CAPTURE(partitioned);
    two_nodes nodes(4);
    const auto notes = std::make_shared<std::vector<std::string>>();
    const auto watcher = spawn_listener(nodes.sim.system(), notes);
    nodes.b.post->host("far", 1, spawn_listener(nodes.sim.system(), notes));
    caf::anon_send(watcher, introduce{nodes.a.post->handle({1, "far", 1})});
    nodes.sim.run();
    notes->clear();
    if (partitioned)
      nodes.wire.partition(*nodes.a.net, *nodes.b.net);
    else
      nodes.wire.kill(*nodes.b.net);
    nodes.sim.run_for(std::chrono::seconds{10});
    REQUIRE(notes->size() == 1);
    CHECK(notes->front().starts_with("down node lost: node 1: "));
    caf::anon_send(watcher, introduce{nodes.a.post->handle({1, "far", 1})});
    nodes.sim.run();
    CHECK(notes->back() == "down node lost: node 1 is not connected");
  }
}

TEST_CASE("tensors and nested fields come back as they were; what does not fit its type is dropped") {
  parcel out;
  out.type = "numbered";
  const auto address = [](const caf::actor&) { return actor_address{}; };
  const auto payload = make_host_tensor(dtype::int32, {2, 3});
  for (int i = 0; i < 6; ++i)
    payload.mutable_data<std::int32_t>()[i] = i;
  const address_finder addresses = address;
  message_writer(out, addresses).write(numbered{7, {"x", "", "yz"}, payload});
  REQUIRE(out.tensors.size() == 1);
  CHECK(out.tensors[0].bytes() == payload.bytes());  // a handle, not a copy
  const handle_finder handles = [](const actor_address&) { return caf::actor{}; };
  numbered in;
  message_reader reader(out, handles);
  reader.read(in);
  reader.expect_end();
  CHECK(in.value == 7);
  CHECK(in.notes == std::vector<std::string>{"x", "", "yz"});
  CHECK(in.payload->bytes() == payload.bytes());

  for (std::size_t size = 0; size < out.body.size(); ++size) {
    auto cut = out;
    cut.body.resize(size);
    message_reader short_reader(cut, handles);
    CHECK_THROWS_AS(short_reader.read(in), input_error);
  }
  auto missing = out;
  missing.tensors.clear();
  message_reader missing_reader(missing, handles);
  CHECK_THROWS_AS(missing_reader.read(in), input_error);
  auto huge = out;
  huge.body[8] = huge.body[9] = huge.body[10] = huge.body[11] = std::byte{255};  // the count of notes
  message_reader huge_reader(huge, handles);
  CHECK_THROWS_AS(huge_reader.read(in), input_error);
}

}  // namespace troupe
