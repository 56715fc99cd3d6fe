/// Who may not come in, and that a link does not notice them.

#include <sys/resource.h>

#include <cstring>
#include <ctime>
#include <thread>

#include <doctest/doctest.h>

#include "runtime/transport/socket.hpp"
#include "runtime/transport/tcp_network.hpp"
#include "tests/runtime/transport/strangers.hpp"
#include "tests/seeds.hpp"

using namespace troupe;
using namespace std::chrono_literals;

TEST_CASE_TEMPLATE("another secret is refused, and both sides hear of it", links, plain_links, tls_links) {
  const links kind;
  const auto [dialer, acceptor] = turn_away({.secret = "wrong"}, {.secret = "right"});
  CHECK(contains(dialer.text, "another secret"));
  CHECK(contains(acceptor, "does not know this cluster's secret"));
}

TEST_CASE_TEMPLATE("another version is refused, and both sides hear both versions", links, plain_links, tls_links) {
  const links kind;
  const auto [dialer, acceptor] = turn_away({.protocol_version = 3}, {.protocol_version = 4});
  CHECK(contains(dialer.text, "speaks version 4 of the protocol, this side version 3"));
  CHECK(contains(acceptor, "speaks version 3 of the protocol, this side version 4"));
}

TEST_CASE_TEMPLATE("another build is refused, and both sides hear both builds", links, plain_links, tls_links) {
  const links kind;
  const auto [dialer, acceptor] = turn_away({.build = "new"}, {.build = "old"});
  CHECK(contains(dialer.text, "build 'old', this side is build 'new'"));
  CHECK(contains(acceptor, "build 'new', this side is build 'old'"));
  CHECK_THROWS_AS(make_tcp_network({.build = std::string(81, 'x')}), std::length_error);
}

TEST_CASE_TEMPLATE("random bytes end their own connection and nothing else", links, plain_links, tls_links) {
  const links kind;
  working_link link({.secret = "s", .peers = {.heartbeat = 20ms}});
  for_each_seed(30, [&](std::uint64_t seed) {
    std::mt19937_64 random(seed);
    bare_socket stranger(link.b->endpoint());
    stranger.send(random_text(random, 10'000) + "x");
    // The first byte decides, save where it is the right one by chance.
    stranger.send("no hello has this");
    stranger.wait_end();
  });
  link.check();
}

TEST_CASE("a peer of ours that sends no frames is lost, and nothing else") {
  for_each_seed(30, [&](std::uint64_t seed) {
    std::mt19937_64 random(seed);
    working_link link({.secret = "s", .peers = {.heartbeat = 20ms}});
    bare_socket peer(link.b->endpoint());
    introduce(peer, {"s", ""});
    if (seed % 2 == 0) {
      auto head = encode_head(with_floats(1000), {});
      head[random() % head.size()] ^= static_cast<std::byte>(1 + random() % 255);
      peer.send(head);
      peer.send(std::string(1 << 20, 'x'));  // the elements, and then no frame
    } else {
      peer.send("y" + random_text(random, 1000) + std::string(100, 'x'));
    }
    peer.wait_end();
    link.check();
  });
}

TEST_CASE_TEMPLATE("half handshakes end within their time", links, plain_links, tls_links) {
  const links kind;
  working_link link({.secret = "s", .peers = {.heartbeat = 20ms}, .handshake_timeout = 100ms});
  handshake shake(handshake::role::dialer, {"s", ""}, "me");
  const auto hello = shake.output();
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{127}, std::size_t{128}}) {
    bare_socket stranger(link.b->endpoint());
    stranger.send(std::span(hello).first(size));
    stranger.wait_end();
  }
  // Who waits for a hello that does not come gives up, too.
  const int deaf = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  REQUIRE(::bind(deaf, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::listen(deaf, 1) == 0);
  REQUIRE(::getsockname(deaf, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  const auto result = link.a.dial("127.0.0.1:" + std::to_string(ntohs(address.sin_port)));
  CHECK(result.link == 0);
  CHECK(!result.refused);
  CHECK(contains(result.text, "the handshake took too long"));
  ::close(deaf);
  link.check();
}

TEST_CASE_TEMPLATE("1,000 idle connections disturb neither a link nor who comes after", links, plain_links, tls_links) {
  const links kind;
  raise_descriptor_limit();
  working_link link({.secret = "s", .handshake_timeout = 60s, .unauthenticated_max = 50});
  std::vector<bare_socket> idle;
  for (int i = 0; i < 1000; ++i) {
    idle.emplace_back(link.b->endpoint());
    if (i % 100 == 0)
      link.check();
  }
  // The oldest were dropped for the others.
  for (std::size_t i = 0; i < 900; ++i)
    idle[i].wait_end();
  link.check();
  test_node late({.secret = "s"});
  late.start();
  CHECK(late.join(link.b).first != 0);
  link.check();
}

TEST_CASE("without descriptors nobody comes in, and nothing spins; links go on, and callers have only to wait") {
  working_link link({.secret = "s", .peers = {.heartbeat = 20ms}});
  test_node dialer({.secret = "s"});
  dialer.start();
  const descriptor caller(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  {
    const descriptor next(::dup(caller.get()));
    const rlimit no_more{static_cast<rlim_t>(next.get()), before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &no_more) == 0);
  }
  const auto to = resolve(parse_endpoint(link.b->endpoint()), true).front();
  REQUIRE(::connect(caller.get(), to.get(), to.size) == 0);
  std::promise<dial_result> dialed;
  dialer->dial(link.b->endpoint(), "me", [&](dial_result result) { dialed.set_value(std::move(result)); });
  CHECK(contains(dialed.get_future().get().text, std::strerror(EMFILE)));
  const auto busy_before = std::clock();
  std::this_thread::sleep_for(600ms);
  CHECK(std::clock() - busy_before < CLOCKS_PER_SEC / 4);
  link.check();
  // Nobody has said a word to the caller: it was not accepted yet.
  std::byte hello;
  CHECK(::recv(caller.get(), &hello, 1, MSG_DONTWAIT) < 0);
  ::setrlimit(RLIMIT_NOFILE, &before);
  CHECK(::recv(caller.get(), &hello, 1, 0) == 1);
  CHECK(dialer.join(link.b).first != 0);
  link.check();
}

TEST_CASE("strangers get a quarter of the descriptors at most") {
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const rlimit few{256, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  working_link link({.secret = "s", .handshake_timeout = 60s});
  ::setrlimit(RLIMIT_NOFILE, &before);
  std::vector<bare_socket> idle;
  for (int i = 0; i < 65; ++i)
    idle.emplace_back(link.b->endpoint());
  idle.front().wait_end();
  link.check();
}
