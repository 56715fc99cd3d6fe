/// Who may not come in where links are encrypted, and what keeps them so. That they carry parcels as plain links do is
/// shown by the tests of those.

#include <thread>

#include <doctest/doctest.h>

#include "runtime/transport/tcp_network.hpp"
#include "tests/runtime/transport/bare_tls.hpp"
#include "tests/runtime/transport/strangers.hpp"
#include "tests/seeds.hpp"

using namespace troupe;
using namespace std::chrono_literals;

namespace {

tcp_options with_tls(const tls_options& who) { return {.secret = "s", .tls = who, .peers = {.heartbeat = 20ms}}; }

/// A node that is told whom it turned away.
struct guarded_node {
  guarded_node() : node(options()) { node.start(); }

  tcp_options options() {
    auto out = with_tls(our_authority().node());
    out.on_turned_away = [this](const std::string& reason) { told.set_value(reason); };
    return out;
  }
  std::string wait_reason() {
    auto reason = told.get_future();
    REQUIRE(reason.wait_for(patience) == std::future_status::ready);
    return reason.get();
  }

  std::promise<std::string> told;
  test_node node;
};

}  // namespace

TEST_CASE("a node of another authority is refused, and both sides hear of it") {
  SUBCASE("by who dials") {
    const auto [dialer, acceptor] = turn_away(with_tls(our_authority().node()), with_tls(foreign_authority().node()));
    CHECK(contains(dialer.text, "the other side's certificate is not one of this cluster's authority"));
    CHECK(contains(acceptor, "this side's certificate is not one of its cluster's authority"));
  }
  SUBCASE("by who is dialed") {
    auto who = foreign_authority().node();
    who.authority = our_authority().put("both.pem", our_authority().certificate() + foreign_authority().certificate());
    const auto [dialer, acceptor] = turn_away(with_tls(who), with_tls(our_authority().node()));
    CHECK(contains(dialer.text, "this side's certificate is not one of its cluster's authority"));
    CHECK(contains(acceptor, "the other side's certificate is not one of this cluster's authority"));
  }
}

TEST_CASE("a certificate that has expired is refused, and both sides hear of it") {
  const auto expired = with_tls(our_authority().node(-1 * std::chrono::days{1})),
             valid = with_tls(our_authority().node());
  SUBCASE("of who dials") {
    const auto [dialer, acceptor] = turn_away(expired, valid);
    CHECK(contains(dialer.text, "this side's certificate has expired"));
    CHECK(contains(acceptor, "the other side's certificate has expired"));
  }
  SUBCASE("of who is dialed") {
    const auto [dialer, acceptor] = turn_away(valid, expired);
    CHECK(contains(dialer.text, "the other side's certificate has expired"));
    CHECK(contains(acceptor, "this side's certificate has expired"));
  }
}

TEST_CASE("a certificate does not replace the secret") {
  auto wrong = with_tls(our_authority().node());
  wrong.secret = "wrong";
  const auto [dialer, acceptor] = turn_away(wrong, with_tls(our_authority().node()));
  CHECK(contains(dialer.text, "another secret"));
  CHECK(contains(acceptor, "does not know this cluster's secret"));
}

TEST_CASE("who has TLS and who has not turn each other away, and both hear why") {
  SUBCASE("without it to one who has it") {
    const auto [dialer, acceptor] = turn_away({.secret = "s"}, with_tls(our_authority().node()));
    CHECK(contains(dialer.text, "the other side speaks TLS, which this side does not"));
    CHECK(contains(acceptor, "the other side is a Troupe node without TLS"));
  }
  SUBCASE("with it to one who has it not") {
    const auto [dialer, acceptor] = turn_away(with_tls(our_authority().node()), {.secret = "s"});
    CHECK(contains(dialer.text, "the other side is a Troupe node without TLS"));
    CHECK(contains(acceptor, "the other side speaks TLS, which this side does not"));
  }
}

TEST_CASE_FIXTURE(guarded_node, "a caller without a certificate is refused") {
  bare_tls caller(node->endpoint());
  caller.shake_hands();  // it is looked at only after this end is done
  CHECK(contains(wait_reason(), "the other side has no certificate"));
  CHECK(caller.receive().empty());
}

TEST_CASE_FIXTURE(guarded_node, "nothing below TLS 1.3 is spoken, and no session is resumed") {
  bare_tls old(node->endpoint());
  old.bring(our_authority().node());
  old.speak_at_most(TLS1_2_VERSION);
  CHECK(!old.shake_hands());
  bare_tls current(node->endpoint());
  current.bring(our_authority().node());
  CHECK(current.shake_hands());
  introduce(current, {"s", ""});
  CHECK(!current.can_resume());
}

TEST_CASE("a peer that ends without a word has died; one that is done says so below the frames, too") {
  test_node node(with_tls(our_authority().node()));
  std::promise<link_id> introduced;
  node.answer = [&](link_id link, const std::string&) {
    introduced.set_value(link);
    return introduction_reply{true, {}, false};
  };
  node.start();
  std::optional<bare_tls> peer(node->endpoint());
  peer->bring(our_authority().node());
  REQUIRE(peer->shake_hands());
  introduce(*peer, {"s", ""});
  const auto link = introduced.get_future().get();
  SUBCASE("cut off") {
    peer.reset();
    CHECK(contains(node.wait_lost(link), "the connection ended without a goodbye"));
  }
  SUBCASE("changed on the way") {
    peer->socket().send("\x17\x03\x03" + std::string("\0\x20", 2) + std::string(32, 'x'));
    CHECK(contains(node.wait_lost(link), "does not speak TLS as a Troupe node does"));
  }
  SUBCASE("closed by the node") {
    node->close(link);
    while (!peer->receive().empty()) {
    }
    CHECK(peer->was_closed_properly());
  }
}

TEST_CASE("keys are changed under way") {
  auto who = our_authority().node();
  who.records_per_key = 3;
  working_link link(with_tls(who));
  std::thread other([&] {
    for (std::uint64_t i = 0; i < 200; ++i)
      link.b->send(link.to_a, make_parcel(i));
  });
  for (std::uint64_t i = 0; i < 200; ++i)
    link.a->send(link.to_b, make_parcel(i));
  other.join();
  const auto at_b = link.b.wait_parcels(link.to_a, 200), at_a = link.a.wait_parcels(link.to_b, 200);
  for (std::uint64_t i = 0; i < 200; ++i) {
    REQUIRE(same(at_b[i], make_parcel(i)));
    REQUIRE(same(at_a[i], make_parcel(i)));
  }
}

TEST_CASE("broken TLS ends its own connection and nothing else") {
  working_link link(with_tls(our_authority().node()));
  const auto hello = bare_tls::first_words();
  REQUIRE(hello.size() > 100);
  for_each_seed(30, [&](std::uint64_t seed) {
    std::mt19937_64 random(seed);
    auto changed = hello;
    changed[random() % hello.size()] ^= static_cast<char>(1 + random() % 255);
    bare_socket stranger(link.b->endpoint());
    stranger.send(changed);
    stranger.send(random_text(random, 1000));
    stranger.send(std::string(40'000, '\xff'));  // no record has this head or size
    stranger.wait_end();
  });
  link.check();
}

TEST_CASE("half TLS handshakes end within their time") {
  auto options = with_tls(our_authority().node());
  options.handshake_timeout = 100ms;
  working_link link(options);
  const auto hello = bare_tls::first_words();
  for (const auto size : {std::size_t{1}, std::size_t{5}, hello.size() / 2, hello.size() - 1, hello.size()}) {
    bare_socket stranger(link.b->endpoint());
    stranger.send(hello.substr(0, size));
    stranger.wait_end();
  }
  bare_tls silent(link.b->endpoint());
  silent.bring(our_authority().node());
  REQUIRE(silent.shake_hands());
  while (!silent.receive().empty()) {
  }
  link.check();
}

TEST_CASE("a TLS handshake without end is ended") {
  auto options = with_tls(our_authority().node());
  options.handshake_timeout = 300s;
  working_link link(options);
  bare_socket stranger(link.b->endpoint());
  // A hello of 128 KiB, say its first bytes.
  stranger.send(std::string("\x16\x03\x01\x40\x00\x01\x01\xff\xff\x03\x03", 11) + std::string(16'384 - 6, 'x'));
  for (int i = 0; i < 6; ++i)
    stranger.send(std::string("\x16\x03\x01\x40\x00", 5) + std::string(16'384, 'x'));
  stranger.wait_end();
  link.check();
}

TEST_CASE("files that cannot be used are named") {
  const auto good = our_authority().node();
  const auto error_of = [](const tls_options& options) {
    try {
      make_tcp_network({.tls = options});
    } catch (const input_error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(error_of(good) == "");
  auto options = good;
  options.authority = "/nowhere/authority.pem";
  CHECK(error_of(options).starts_with("/nowhere/authority.pem: cannot read: No such file"));
  options = good;
  options.certificate = good.key;
  CHECK(error_of(options).starts_with(good.key.string() + ": expected a node's certificate"));
  options = good;
  options.key = our_authority().node().key;
  CHECK(error_of(options).starts_with(options.key.string() + ": expected the key of the node's certificate"));
}

TEST_CASE("certificates are made within their time, by who has the authority's key") {
  const auto valid = valid_for(std::chrono::days{7});
  const auto authority = make_authority(valid);
  CHECK(end_of_validity(authority.certificate) == valid.until);
  CHECK(end_of_validity(make_node_certificate(authority, valid).certificate) == valid.until);
  CHECK(make_authority(valid).key != authority.key);
  CHECK_THROWS_AS(make_node_certificate({authority.certificate, make_authority(valid).key}, valid), input_error);
  CHECK_THROWS_AS(make_node_certificate({"nonsense", authority.key}, valid), input_error);
  CHECK_THROWS_AS(end_of_validity(authority.key), input_error);
}
