/// What holds on a link whose two ends are well.

#include "runtime/transport/tcp_network.hpp"

#include <thread>

#include <doctest/doctest.h>

#include "tests/runtime/transport/support.hpp"
#include "tests/seeds.hpp"

using namespace troupe;
using namespace std::chrono_literals;

TEST_CASE_TEMPLATE("parcels arrive whole, once and in order, both ways at once", links, plain_links, tls_links) {
  const links kind;
  for_each_seed(4, [](std::uint64_t seed) {
    constexpr std::uint64_t count = 300;
    test_node a, b;
    a.start();
    b.start();
    const auto [to_b, to_a] = a.join(b);
    const auto send_all = [&](test_node& from, link_id link, std::uint64_t first) {
      for (std::uint64_t i = 0; i < count; ++i)
        from->send(link, make_parcel(first + i));
    };
    std::thread other([&] { send_all(b, to_a, seed * 1'000'000 + 500'000); });
    send_all(a, to_b, seed * 1'000'000);
    other.join();
    const auto at_b = b.wait_parcels(to_a, count), at_a = a.wait_parcels(to_b, count);
    for (std::uint64_t i = 0; i < count; ++i) {
      REQUIRE(same(at_b[i], make_parcel(seed * 1'000'000 + i)));
      REQUIRE(same(at_a[i], make_parcel(seed * 1'000'000 + 500'000 + i)));
    }
  });
}

TEST_CASE_TEMPLATE("parcels far larger than the system's buffers arrive", links, plain_links, tls_links) {
  const links kind;
  test_node a, b;
  a.start();
  b.start();
  const auto [to_b, to_a] = a.join(b);
  auto message = with_floats(10'000'000);
  for (int i = 0; i < 200; ++i)  // more pieces than one call takes
    message.tensors.push_back(message.tensors.front().slice(i * 1000, {1000}));
  message.body.resize(20'000'000, std::byte{3});
  for (int i = 0; i < 3; ++i)
    a->send(to_b, message);
  for (const auto& each : b.wait_parcels(to_a, 3))
    CHECK(same(each, message));
}

TEST_CASE_TEMPLATE("each sender's order holds among many, and small parcels do not pass large ones", links, plain_links,
                   tls_links) {
  const links kind;
  constexpr int senders = 4, count = 200;
  test_node a({.window_bytes = 1 << 20}), b;
  a.start();
  b.start();
  const auto [to_b, to_a] = a.join(b);
  std::vector<std::thread> threads;
  for (int sender = 0; sender < senders; ++sender)
    threads.emplace_back([&a, sender, link = to_b] {
      for (int i = 0; i < count; ++i) {
        auto message = i % 3 == 0 ? with_floats(30'000) : note("small");
        message.to = {static_cast<node_id>(sender), "x", static_cast<std::uint64_t>(i)};
        a->send(link, std::move(message));
      }
    });
  for (auto& each : threads)
    each.join();
  std::vector<std::uint64_t> next(senders, 0);
  for (const auto& each : b.wait_parcels(to_a, senders * count))
    CHECK(each.to.incarnation == next[each.to.node]++);
}

TEST_CASE_TEMPLATE("what is sent is the sender's memory, and it is let go after", links, plain_links, tls_links) {
  const links kind;
  test_node a, b;
  a.start();
  b.start();
  const auto [to_b, to_a] = a.join(b);
  std::vector<std::weak_ptr<buffer>> owners;
  for (int i = 0; i < 20; ++i) {
    auto message = with_floats(1'000'000);
    owners.push_back(message.tensors.front().owner());
    a->send(to_b, std::move(message));
  }
  b.wait_parcels(to_a, 20);
  // The last one goes a moment after the receiver has it.
  const auto end = std::chrono::steady_clock::now() + patience;
  for (const auto& each : owners) {
    while (!each.expired() && std::chrono::steady_clock::now() < end)
      std::this_thread::yield();
    CHECK(each.expired());
  }
}

TEST_CASE_TEMPLATE("a dial brings its introduction and gets the answer", links, plain_links, tls_links) {
  const links kind;
  test_node a, b;
  b.answer = [](link_id, const std::string& text) {
    if (text == "friend")
      return introduction_reply{true, "welcome", false};
    if (text == "question")
      return introduction_reply{true, "answer", true};
    return introduction_reply{false, "we do not know " + text, false};
  };
  a.start();
  b.start();
  const auto friendly = a.dial(b->endpoint(), "friend");
  CHECK(friendly.link != 0);
  CHECK(friendly.text == "welcome");
  const auto question = a.dial(b->endpoint(), "question");
  CHECK(question.link != 0);
  CHECK(question.text == "answer");
  CHECK(a.wait_lost(question.link).ends_with("the other side closed the link"));
  const auto refused = a.dial(b->endpoint(), "a stranger");
  CHECK(refused.link == 0);
  CHECK(refused.refused);
  CHECK(refused.text == "we do not know a stranger");
  CHECK(!a.was_lost(friendly.link));
}

TEST_CASE_TEMPLATE("what is sent as soon as a link is heard of comes after the answer", links, plain_links, tls_links) {
  const links kind;
  test_node a, b;
  b.answer = [&](link_id link, const std::string&) {
    b->send(link, note("at once"));
    b->send(link, with_floats(3'000'000));
    return introduction_reply{true, "welcome", false};
  };
  a.start();
  b.start();
  const auto dialed = a.dial(b->endpoint());
  CHECK(dialed.text == "welcome");
  b.destroy();  // nothing is owed to a link that was not closed, but what has left arrives
  const auto first = a.wait_parcels(dialed.link, 1);
  CHECK(first[0].type == "at once");
  a.wait_lost(dialed.link);
}

TEST_CASE_TEMPLATE("a dial that fails says where, why, and what to do", links, plain_links, tls_links) {
  const links kind;
  test_node a;
  std::string gone;
  {
    test_node b;
    gone = b.start()->endpoint();
  }
  a.start();
  const auto refused = a.dial(gone);
  CHECK(refused.link == 0);
  CHECK(!refused.refused);
  CHECK(refused.text.starts_with(gone + ": cannot be reached: Connection refused"));
  CHECK(a.dial("nowhere").text.find("'nowhere' is no endpoint") != std::string::npos);
  CHECK(a.dial("127.0.0.1:99999").text.find("expected HOST:PORT") != std::string::npos);
  CHECK(a.dial(gone, std::string(introduction_bytes_max + 1, 'x')).text.find("introduction") != std::string::npos);
  const auto unknown = a.dial("no-such-host.invalid:4000");
  CHECK(unknown.link == 0);
  CHECK(unknown.text.find("no-such-host.invalid") != std::string::npos);
}

TEST_CASE("hosts may be named, and addresses be of version 6") {
  test_node a, b;
  a.start();
  b.start();
  const auto endpoint = b->endpoint();
  CHECK(a.dial("localhost" + endpoint.substr(endpoint.rfind(':'))).link != 0);
  try {
    test_node c({.bind_address = "::1"});
    c.start();
    CHECK(c->endpoint().starts_with("[::1]:"));
    CHECK(a.dial(c->endpoint()).link != 0);
  } catch (const system_error& error) {
    MESSAGE("no version 6 here: ", error.what());
  }
}

TEST_CASE("an endpoint can be advertised") {
  test_node a({.bind_address = "0.0.0.0", .advertised_host = "trainer-7"}), b({.bind_address = "0.0.0.0"});
  CHECK(a->endpoint().starts_with("trainer-7:"));
  CHECK(!b->endpoint().starts_with("0.0.0.0"));
  CHECK_THROWS_AS(make_tcp_network({.bind_address = "192.0.2.1"}), system_error);
}

TEST_CASE_TEMPLATE("a close delivers what was handed over, and tells only the other side", links, plain_links,
                   tls_links) {
  const links kind;
  test_node a, b;
  a.start();
  b.start();
  const auto [to_b, to_a] = a.join(b);
  for (int i = 0; i < 20; ++i)
    a->send(to_b, with_floats(1'000'000));
  a->send(to_b, note("last"));
  a->close(to_b);
  a->send(to_b, note("too late"));
  CHECK(b.wait_lost(to_a).ends_with("the other side closed the link"));
  REQUIRE(b.parcel_count(to_a) == 21);
  CHECK(b.wait_parcels(to_a, 21).back().type == "last");
  CHECK(!a.was_lost(to_b));
}

TEST_CASE_TEMPLATE("a close is kept by a network that ends right after", links, plain_links, tls_links) {
  const links kind;
  test_node b;
  b.start();
  link_id at_b = 0;
  {
    test_node a;
    a.start();
    const auto [to_b, to_a] = a.join(b);
    at_b = to_a;
    for (int i = 0; i < 20; ++i)
      a->send(to_b, with_floats(1'000'000));
    a->close(to_b);
  }
  b.wait_lost(at_b);
  CHECK(b.parcel_count(at_b) == 20);
}

TEST_CASE_TEMPLATE("callbacks may send, dial and close", links, plain_links, tls_links) {
  const links kind;
  test_node a({.window_bytes = 1 << 20}), b;
  std::promise<std::string> told;
  b.on_parcel = [&](link_id link, parcel message) {
    // More than the window: the network's own thread must not wait for itself.
    for (int i = 0; i < 5; ++i)
      b->send(link, message);
    b->close(link);
    b->dial("127.0.0.1:1", "me", [&](dial_result r) { told.set_value(r.text); });
  };
  a.start();
  b.start();
  const auto [to_b, to_a] = a.join(b);
  const auto message = with_floats(1'000'000);
  a->send(to_b, message);
  for (const auto& each : a.wait_parcels(to_b, 5))
    CHECK(same(each, message));
  CHECK(a.wait_lost(to_b).ends_with("the other side closed the link"));
  auto text = told.get_future();
  REQUIRE(text.wait_for(patience) == std::future_status::ready);
  CHECK(!text.get().empty());
}

TEST_CASE_TEMPLATE("a network may dial itself", links, plain_links, tls_links) {
  const links kind;
  test_node a;
  a.start();
  const auto [out, in] = a.join(a);
  CHECK(out != in);
  a->send(out, note("to myself"));
  CHECK(a.wait_parcels(in, 1)[0].type == "to myself");
}
