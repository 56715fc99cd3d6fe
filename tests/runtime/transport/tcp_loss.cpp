/// How links end against somebody's will, and that everybody is told and nobody hangs.

#include <fcntl.h>

#include <filesystem>
#include <thread>

#include <doctest/doctest.h>

#include "runtime/transport/tcp_network.hpp"
#include "tests/runtime/transport/support.hpp"

using namespace troupe;
using namespace std::chrono_literals;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::size_t entries(const char* folder) {
  const std::filesystem::directory_iterator all(folder);
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

}  // namespace

TEST_CASE_TEMPLATE("a process that ends is told of at once, with the last it said", links, plain_links, tls_links) {
  const links kind;
  test_node a, b;
  a.start();
  b.start();
  const auto [to_b, to_a] = a.join(b);
  a->send(to_b, note("last words"));
  b.wait_parcels(to_a, 1);
  a.destroy();
  CHECK(contains(b.wait_lost(to_a), "the connection ended without a goodbye"));
  b->send(to_a, note("to nobody"));
}

TEST_CASE_TEMPLATE("a peer that falls silent is lost, with evidence", links, plain_links, tls_links) {
  const links kind;
  test_node silent({.peers = {.heartbeat = 20ms}, .heartbeats = false});
  test_node other({.peers = {.heartbeat = 20ms, .silence_max = 30s}});
  silent.start();
  other.start();
  const auto [to_other, to_silent] = silent.join(other);
  const auto evidence = other.wait_lost(to_silent);
  CHECK(contains(evidence, "no sign of life for"));
  CHECK(contains(evidence, "phi"));
  silent.wait_lost(to_other);
}

TEST_CASE_TEMPLATE("silence has a bound, however irregular it was before", links, plain_links, tls_links) {
  const links kind;
  test_node silent({.peers = {.heartbeat = 20ms}, .heartbeats = false});
  test_node other({.peers = {.heartbeat = 20ms, .silence_max = 100ms}});
  silent.start();
  other.start();
  const auto [to_other, to_silent] = silent.join(other);
  CHECK(contains(other.wait_lost(to_silent), "no sign of life for 0.1"));
}

TEST_CASE("who was given up for its silence is told so when it comes back; what it sends then is counted, and dropped") {
  test_node other({.secret = "s", .peers = {.heartbeat = 20ms, .silence_max = 100ms}});
  other.start();
  bare_socket peer(other->endpoint());
  introduce(peer, {"s", ""});
  const auto link = other.wait_introduced("by hand");
  CHECK(contains(other.wait_lost(link), "no sign of life for"));
  for (int i = 0; i < 3; ++i)
    peer.send(encode_head(note("late"), {}));
  other.wait_late(3);
  CHECK(other.parcel_count(link) == 0);
  std::vector<std::byte> told;
  for (auto more = peer.receive(); !more.empty(); more = peer.receive())
    told.insert(told.end(), more.begin(), more.end());
  const auto goodbye = encode_prefix({frame_kind::goodbye, 0, 0});
  REQUIRE(told.size() >= goodbye.size());
  CHECK(std::ranges::equal(std::span(told).last(goodbye.size()), goodbye));
}

TEST_CASE("an idle link lives by heartbeats") {
  test_node a({.peers = {.heartbeat = 5ms, .silence_max = 300s}}), b({.peers = {.heartbeat = 5ms, .silence_max = 300s}});
  a.start();
  b.start();
  const auto [to_b, to_a] = a.join(b);
  // Long enough for phi to give a silent one up, many times over.
  std::this_thread::sleep_for(1s);
  CHECK(!a.was_lost(to_b));
  CHECK(!b.was_lost(to_a));
}

TEST_CASE_TEMPLATE("a sender that waits for room is let go when the link is lost", links, plain_links, tls_links) {
  const links kind;
  test_node a({.window_bytes = 1 << 20}), b;
  std::promise<void> release;
  const auto released = release.get_future().share();
  b.on_parcel = [released](link_id, const parcel&) { released.wait(); };  // a receiver that is stuck
  a.start();
  b.start();
  const auto [to_b, to_a] = a.join(b);
  std::atomic<int> sent = 0;
  std::thread sender([&, link = to_b] {
    for (int i = 0; i < 100; ++i, ++sent)
      a->send(link, with_floats(1'000'000));
  });
  SUBCASE("by silence") {
    CHECK(contains(a.wait_lost(to_b), "no sign of life"));
    CHECK(sent < 100);
  }
  SUBCASE("by our own close") {
    a->close(to_b);
  }
  sender.join();
  release.set_value();
}

TEST_CASE_TEMPLATE("a sender that waits for room is let go when its network ends", links, plain_links, tls_links) {
  const links kind;
  test_node a({.window_bytes = 1 << 20}), b;
  std::promise<void> release;
  const auto released = release.get_future().share();
  b.on_parcel = [released](link_id, const parcel&) { released.wait(); };
  a.start();
  b.start();
  const auto [to_b, to_a] = a.join(b);
  std::atomic<bool> waits = false;
  std::thread sender([&waits, &net = a.net(), link = to_b] {
    net.send(link, with_floats(20'000'000));  // more than the system buffers
    waits = true;
    net.send(link, with_floats(1));
  });
  while (!waits)
    std::this_thread::yield();
  std::this_thread::sleep_for(500ms);  // a call that has not begun would find no network
  a.destroy();
  sender.join();
  release.set_value();
}

TEST_CASE_TEMPLATE("messages without tensors never block; too many of them end the link", links, plain_links,
                   tls_links) {
  const links kind;
  test_node a({.control_bytes_max = 1 << 20, .peers = {.silence_max = 300s}}), b;
  std::promise<void> release;
  const auto released = release.get_future().share();
  b.on_parcel = [released](link_id, const parcel&) { released.wait(); };
  a.start();
  b.start();
  const auto [to_b, to_a] = a.join(b);
  auto message = note("long");
  message.body.resize(100'000);
  while (!a.was_lost(to_b))
    a->send(to_b, message);
  CHECK(contains(a.wait_lost(to_b), "the other side does not receive"));
  release.set_value();
}

TEST_CASE_TEMPLATE("a network that ends amid traffic leaves no thread and no descriptor", links, plain_links,
                   tls_links) {
  const links kind;
  const auto threads = entries("/proc/self/task"), files = entries("/proc/self/fd");
  for (int round = 0; round < 10; ++round) {
    test_node a({.window_bytes = 1 << 20});
    a.start();
    {
      test_node b;
      b.start();
      const auto [to_b, to_a] = a.join(b);
      std::atomic<bool> stop = false;
      std::thread sender([&, link = to_b] {
        while (!stop)
          a->send(link, with_floats(200'000));
      });
      b.wait_parcels(to_a, 3);
      b->dial("192.0.2.1:4000", "me", [](const dial_result&) {});
      b.destroy();
      a.wait_lost(to_b);
      stop = true;
      sender.join();
    }
  }
  CHECK(entries("/proc/self/task") == threads);
  CHECK(entries("/proc/self/fd") == files);
}

TEST_CASE("a dial that is under way ends with the network") {
  std::promise<dial_result> told;
  {
    test_node a;
    a.start();
    // Reserved for documentation: nobody answers there, or nobody can be asked.
    a->dial("192.0.2.1:4000", "me", [&](dial_result r) { told.set_value(std::move(r)); });
  }
  auto result = told.get_future();
  REQUIRE(result.wait_for(0s) == std::future_status::ready);
  CHECK(result.get().link == 0);
}

TEST_CASE_TEMPLATE("a dial without an answer ends in time", links, plain_links, tls_links) {
  const links kind;
  test_node a({.peers = {.heartbeat = 10ms}, .dial_timeout = 50ms});
  a.start();
  const auto result = a.dial("192.0.2.1:4000");
  CHECK(result.link == 0);
  CHECK(!result.refused);
  CHECK(result.text.starts_with("192.0.2.1:4000: "));
}
