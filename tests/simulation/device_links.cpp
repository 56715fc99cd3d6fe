/// Device links and their keepers over a simulated network, with a stand-in for channels: links form, break at either end
/// at any moment, with and without parcels under way, and form anew. Messages arrive in order and once, or their sender is
/// lost (P1, P3).

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "runtime/cluster/link_keeper.hpp"
#include "runtime/probe.hpp"
#include "runtime/tensor/device.hpp"
#include "tests/seeds.hpp"
#include "tests/simulation/bare_node.hpp"

namespace troupe {

namespace {

struct piece {
  std::uint64_t value = 0;
  std::optional<tensor> payload;
};

}  // namespace

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::piece)

namespace troupe {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Memory that counts as a device's.
class far_buffer final : public buffer {
 public:
  explicit far_buffer(buffer_ptr memory) : buffer(memory->data(), memory->size_bytes()), memory_(std::move(memory)) {}
  device* on() const noexcept override { return &reference_device(); }

 private:
  buffer_ptr memory_;
};

tensor on_device(std::uint64_t value) {
  const tensor out(std::make_shared<far_buffer>(make_host_buffer(8)), 0, dtype::int64, {});
  *out.mutable_data<std::int64_t>() = static_cast<std::int64_t>(value);
  return out;
}

/// What lies between the two ends of a channel.
struct street {
  std::array<bool, 2> opened{};
  std::array<bool, 2> broken{};  ///< as its ends see it
  std::deque<std::vector<tensor>> under_way;
};

struct city {
  explicit city(simulator& sim) : sim(sim) {}

  simulator& sim;
  bool forms = true;
  double full = 0.0;  ///< how often a channel is
  std::map<channel_id, std::shared_ptr<street>> streets;

  street* newest() const { return streets.empty() ? nullptr : streets.rbegin()->second.get(); }
};

class simulated_channel final : public device_channel {
 public:
  simulated_channel(city& where, std::shared_ptr<street> on, channel_end end)
      : where_(where), on_(std::move(on)), end_(static_cast<std::size_t>(end)) {
    on_->opened[end_] = true;
  }
  ~simulated_channel() override { break_off(); }

  bool is_ready() override {
    require_whole();
    return where_.forms && on_->opened[1 - end_] && (ready_ = ready_ || where_.sim.chance(0.3));
  }
  bool send(std::span<const tensor> what) override {
    require_whole();
    if (where_.sim.chance(where_.full))
      return false;
    on_->under_way.emplace_back(what.begin(), what.end());
    return true;
  }
  std::unique_ptr<incoming_tensors> receive(std::span<const tensor_form> what) override {
    require_whole();
    return std::make_unique<coming>(*this, what.size());
  }
  /// The other end finds out when it looks, sooner or later.
  void break_off() override { on_->broken[end_] = true; }

 private:
  struct coming final : incoming_tensors {
    coming(simulated_channel& by, std::size_t count) : by(by), count(count) {}
    std::vector<tensor> wait() override {
      by.require_whole();
      REQUIRE(!by.on_->under_way.empty());
      auto came = std::move(by.on_->under_way.front());
      by.on_->under_way.pop_front();
      REQUIRE(came.size() == count);
      return came;
    }
    simulated_channel& by;
    std::size_t count;
  };

  void require_whole() {
    on_->broken[end_] = on_->broken[end_] || (on_->broken[1 - end_] && where_.sim.chance(0.2));
    if (on_->broken[end_])
      throw device_error("the street is broken");
  }

  city& where_;
  std::shared_ptr<street> on_;
  std::size_t end_;
  bool ready_ = false;
};

class simulated_maker final : public channel_maker {
 public:
  simulated_maker(city& where, std::string gpu) : where_(where), gpu_(std::move(gpu)) {}

  std::string gpu() const override { return gpu_; }
  channel_id draw_id() override {
    channel_id id{};
    const auto number = where_.streets.size() + 1;
    for (std::size_t i = 0; i < sizeof number; ++i)
      id[i] = static_cast<std::byte>(number >> (8 * (sizeof number - 1 - i)));  // in order
    where_.streets[id] = std::make_shared<street>();
    return id;
  }
  std::unique_ptr<device_channel> open(const channel_id& id, channel_end end) override {
    return std::make_unique<simulated_channel>(where_, where_.streets.at(id), end);
  }

 private:
  city& where_;
  std::string gpu_;
};

/// A node with a link keeper, and an actor that writes down what it gets.
struct linked_node : bare_node {
  linked_node(city& where, simulated_wire& wire, node_id id, link_means means)
      : bare_node(where.sim, wire, id, codecs()), sim(where.sim) {
    keeper = spawn_link_keeper(sim.system(), post, std::move(means),
                               {[this](node_id peer, const std::string& evidence) { lose(peer, evidence); },
                                [this](const log_line& line) { log.push_back(line.message); }},
                               {.watch = milliseconds{50}, .form_within = seconds{5}, .rest_first = milliseconds{200},
                                .rest_max = seconds{2}});
    post->host(link_keeper_name, 1, keeper);
    post->host("reader", 1, sim.system().spawn([this](caf::event_based_actor*) -> caf::behavior {
      return {[this](const piece& message) {
        got.push_back(message.value);
        if (message.payload)
          CHECK(*message.payload->data<std::int64_t>() == static_cast<std::int64_t>(message.value));
      }};
    }));
  }

  ~linked_node() { send_exit(keeper, caf::exit_reason::kill); }

  static message_codecs codecs() {
    message_codecs all;
    add_link_codecs(all);
    all.add<piece>("piece");
    return all;
  }

  void lose(node_id peer, const std::string& evidence) {
    lost.push_back(evidence);
    for (const auto& [link, node] : std::map(peers))
      if (node == peer) {
        net->close(link);
        forget(link, evidence);
      }
  }

  void say(node_id to, std::uint64_t value, bool with_tensor) {
    caf::anon_send(post->handle({to, "reader", 1}),
                   piece{value, with_tensor ? std::optional(on_device(value)) : std::nullopt});
  }
  bool is_connected() const { return !post->connected().empty(); }
  std::uint64_t count_log(const std::string& part) const {
    return static_cast<std::uint64_t>(
        std::count_if(log.begin(), log.end(), [&](const auto& each) { return each.find(part) != std::string::npos; }));
  }

  simulator& sim;
  caf::actor keeper;
  std::vector<std::uint64_t> got;
  std::vector<std::string> lost, log;
};

struct two_linked_nodes {
  explicit two_linked_nodes(std::uint64_t seed, const char* second_gpu = "gpu 2")
      : sim(seed),
        where(sim),
        wire(sim),
        a(where, wire, 1, {std::make_shared<simulated_maker>(where, "gpu 1")}),
        b(where, wire, 2,
          second_gpu ? link_means{std::make_shared<simulated_maker>(where, second_gpu)} : link_means{{}, "there is no NCCL"}) {
    b.dial(a);
  }

  bool both_ready() const { return a.count_log("from GPU to GPU") > 0 && b.count_log("from GPU to GPU") > 0; }

  simulator sim;
  city where;
  simulated_wire wire;
  linked_node a, b;
};

std::vector<std::uint64_t> first_numbers(std::uint64_t count) {
  std::vector<std::uint64_t> all(count);
  for (std::uint64_t i = 0; i < count; ++i)
    all[i] = i;
  return all;
}

}  // namespace

TEST_CASE("messages arrive in order, whichever way their tensors take, and links form meanwhile") {
  reset_probes();
  for_each_seed(50, [](std::uint64_t seed) {
    two_linked_nodes nodes(seed);
    nodes.where.full = 0.2;
    auto& sim = nodes.sim;
    constexpr std::uint64_t count = 200;
    sim.run_until([&] { return nodes.a.is_connected() && nodes.b.is_connected(); });
    for (std::uint64_t i = 0; i < count; ++i) {
      nodes.a.say(2, i, sim.chance(0.5));
      nodes.b.say(1, i, sim.chance(0.5));
      if (i == count / 2)
        REQUIRE(sim.run_until([&] { return nodes.both_ready(); }) == simulator::outcome::done);
      else if (sim.chance(0.3))
        sim.run_for(milliseconds{static_cast<int>(sim.draw(20))});
    }
    sim.run_for(seconds{2});
    CHECK(nodes.a.got == first_numbers(count));
    CHECK(nodes.b.got == first_numbers(count));
    CHECK(nodes.a.lost.empty());
    CHECK(nodes.b.lost.empty());
    CHECK(nodes.a.post->counters().device_link_bytes_sent > 0);
    CHECK(nodes.a.post->counters().tensor_bytes_sent + nodes.a.post->counters().device_link_bytes_sent > 8 * count / 4);
  });
  CHECK(probe_counts()["device links: a link was full"] > 0);
}

TEST_CASE("a link that breaks costs no message, or its sender is lost and nothing more comes from it") {
  reset_probes();
  std::uint64_t formed_anew = 0;
  for_each_seed(300, [&](std::uint64_t seed) {
    two_linked_nodes nodes(seed);
    auto& sim = nodes.sim;
    sim.run_until([&] { return nodes.both_ready(); });
    std::uint64_t count = 0;
    const auto before = nodes.a.count_log("from GPU to GPU");
    for (int i = 0; i < 300 && nodes.a.is_connected(); ++i) {
      nodes.a.say(2, count++, sim.chance(0.5));
      if (sim.chance(0.3))
        sim.run_for(milliseconds{static_cast<int>(sim.draw(40))});
      if (sim.chance(0.1))
        sim.run_for(milliseconds{static_cast<int>(sim.draw(500))});
      if (sim.chance(0.02))
        nodes.where.newest()->broken[sim.draw(2)] = true;
    }
    sim.run_for(seconds{3});
    const auto& got = nodes.b.got;
    REQUIRE(got.size() <= count);
    CHECK(got == first_numbers(got.size()));  // each once, in order, without a gap
    if (nodes.a.is_connected() && nodes.b.is_connected())
      CHECK(got.size() == count);
    else
      CHECK(nodes.a.lost.size() + nodes.b.lost.size() > 0);
    formed_anew += nodes.a.count_log("from GPU to GPU") - before;
  });
  if (std::getenv("TROUPE_SEED") != nullptr)
    return;
  CHECK(formed_anew > 0);
  for (const char* path : {"link keeper: a link broke at its sender", "link keeper: a link broke at its receiver",
                           "link keeper: a link broke with parcels under way",
                           "device links: a parcel came whose link was gone"}) {
    CAPTURE(path);
    CHECK(probe_counts()[path] > 0);
  }
}

TEST_CASE("a link that does not form is tried five times, ever more seldom, and messages travel all the same") {
  two_linked_nodes nodes(3);
  auto& sim = nodes.sim;
  const auto& a = nodes.a;
  const auto failures = [&] { return a.count_log("its two ends did not find each other in 5 s"); };
  nodes.where.forms = false;
  sim.run_until([&] { return a.is_connected(); });
  nodes.a.say(2, 0, true);
  CHECK(sim.run_until([&] { return failures() == 4; }) == simulator::outcome::done);
  CHECK(a.count_log("no further link to node 2 is tried") == 0);
  sim.run_for(seconds{300});
  CHECK(failures() == 5);
  CHECK(a.count_log("no further link to node 2 is tried: 5 in a row failed") == 1);
  nodes.where.forms = true;
  sim.run_for(seconds{300});
  CHECK(a.count_log("from GPU to GPU") == 0);
  nodes.a.say(2, 1, true);
  // Whoever it was before, to another node a link is tried.
  linked_node third(nodes.where, nodes.wire, 3, {std::make_shared<simulated_maker>(nodes.where, "gpu 3")});
  third.dial(a);
  const auto has_formed = [&] { return a.count_log("tensors for node 3 go from GPU to GPU") == 1; };
  CHECK(sim.run_until(has_formed) == simulator::outcome::done);
  CHECK(nodes.b.got == first_numbers(2));
}

TEST_CASE("a link that forms and breaks at once counts as failed, one that held does not") {
  for (const bool holds : {false, true}) {
    CAPTURE(holds);
    two_linked_nodes nodes(6);
    auto& sim = nodes.sim;
    const auto formed = [&] { return nodes.a.count_log("from GPU to GPU"); };
    for (std::uint64_t i = 1; i <= (holds ? 20 : 5); ++i) {
      REQUIRE(sim.run_until([&] { return formed() == i; }) == simulator::outcome::done);
      sim.run_for(holds ? milliseconds{2'100} : milliseconds{10});
      for (const auto& [id, each] : nodes.where.streets)
        each->broken[0] = true;
    }
    sim.run_for(seconds{60});
    CHECK(nodes.a.count_log("no further link to node 2 is tried") == (holds ? 0 : 1));
    CHECK(formed() == (holds ? 21 : 5));
  }
}

TEST_CASE("a parcel that is refused after its tensors have left breaks the link") {
  simulator sim(5);
  city where(sim);
  const auto between = std::make_shared<street>();
  device_links links;
  links.open_sending(2, 1, std::make_shared<simulated_channel>(where, between, channel_end::sending));
  parcel what;
  what.tensors = {on_device(1)};
  CHECK_THROWS_AS(links.send(2, what, [](const parcel&) { throw std::length_error("too large"); }), std::length_error);
  CHECK(between->broken[static_cast<std::size_t>(channel_end::sending)]);
  CHECK(links.sent_bytes() == 0);
  CHECK(!links.send(2, what, [](const parcel&) { FAIL("nothing passes a link that is broken"); }));
}

TEST_CASE("nodes on one GPU, or without NCCL, have no link, and say so once") {
  for (const char* gpu : {"gpu 1", static_cast<const char*>(nullptr)}) {
    two_linked_nodes nodes(4, gpu);
    nodes.sim.run_for(seconds{30});
    nodes.a.say(2, 0, true);
    nodes.sim.run_for(seconds{1});
    CHECK(nodes.b.got == first_numbers(1));
    CHECK(nodes.where.streets.empty());
    CHECK(nodes.a.log == std::vector<std::string>{gpu ? "no link to node 2: both nodes use the same GPU"
                                                      : "no link to node 2: there is no NCCL"});
    CHECK(nodes.b.log == std::vector<std::string>{
                             gpu ? "no link to node 1: both nodes use the same GPU"
                                 : "tensors for other nodes pass through the hosts' memory: there is no NCCL"});
  }
}

TEST_CASE("the links of a node that is lost are broken off, and nothing of it is delivered any more") {
  for_each_seed(50, [](std::uint64_t seed) {
    two_linked_nodes nodes(seed);
    nodes.sim.run_until([&] { return nodes.both_ready(); });
    for (std::uint64_t i = 0; i < 10; ++i)
      nodes.a.say(2, i, true);
    nodes.sim.run_for(milliseconds{static_cast<int>(nodes.sim.draw(20))});
    nodes.wire.kill(*nodes.a.net);
    REQUIRE(nodes.sim.run_until([&] { return !nodes.b.is_connected(); }) == simulator::outcome::done);
    const auto delivered = nodes.b.post->counters().received;
    nodes.sim.run_for(seconds{1});
    CHECK(nodes.b.post->counters().received == delivered);
    for (const auto& [id, each] : nodes.where.streets)
      CHECK((each->broken[0] || each->broken[1]));
  });
}

}  // namespace troupe
