#include "runtime/transport/handshake.hpp"

#include <doctest/doctest.h>

#include "tests/seeds.hpp"

#include <random>

using namespace troupe;

namespace {

using role = handshake::role;

/// Passes bytes to and fro, in pieces of at most `piece` bytes, until nothing moves. Throws what a side throws.
void converse(handshake& a, handshake& b, std::size_t piece = 1000) {
  std::vector<std::byte> to_a, to_b;
  const auto feed = [&](handshake& whom, std::vector<std::byte>& from) {
    std::vector<std::byte> offered;
    while (!from.empty()) {
      const auto size = std::min(piece, from.size());
      offered.insert(offered.end(), from.begin(), from.begin() + static_cast<std::ptrdiff_t>(size));
      from.erase(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(size));
      const auto taken = whom.take(offered);
      offered.erase(offered.begin(), offered.begin() + static_cast<std::ptrdiff_t>(taken));
    }
  };
  for (;;) {
    to_b = a.output();
    to_a = b.output();
    if (to_a.empty() && to_b.empty())
      return;
    feed(a, to_a);
    feed(b, to_b);
  }
}

std::string failure(const handshake_identity& dialing, const handshake_identity& accepting) {
  handshake dialer(role::dialer, dialing, "me"), acceptor(role::acceptor, accepting, "");
  try {
    converse(dialer, acceptor);
    return {};
  } catch (const handshake_error& error) {
    CHECK(error.refusal);
    CHECK(!dialer.authenticated());
    CHECK(!acceptor.introduction());
    return error.what();
  }
}

}  // namespace

TEST_CASE("two nodes of one cluster shake hands, however the bytes are cut") {
  for (const std::size_t piece : {1, 7, 127, 128, 129, 100'000}) {
    const handshake_identity me{"secret", "build 1"};
    handshake dialer(role::dialer, me, std::string(1000, 'x')), acceptor(role::acceptor, me, "");
    converse(dialer, acceptor, piece);
    CHECK(dialer.authenticated());
    CHECK(acceptor.authenticated());
    REQUIRE(acceptor.introduction());
    CHECK(*acceptor.introduction() == std::string(1000, 'x'));
    CHECK(!dialer.reply());
    for (const bool accepted : {true, false}) {
      auto copy = dialer;
      auto answer = handshake::answer({accepted, "so be it", false});
      const auto size = answer.size();
      answer.resize(size + 5);  // frames may follow
      CHECK(copy.take(answer) == size);
      REQUIRE(copy.reply());
      CHECK(copy.reply()->accepted == accepted);
      CHECK(copy.reply()->text == "so be it");
    }
  }
}

TEST_CASE("an empty secret is a secret, too") {
  CHECK(failure({"", "b"}, {"", "b"}).empty());
  CHECK(!failure({"", "b"}, {"s", "b"}).empty());
  CHECK(!failure({"s", "b"}, {"", "b"}).empty());
}

TEST_CASE("another version, build or secret is named") {
  CHECK(failure({"s", "b", 1}, {"s", "b", 2}).find("speaks version 2 of the protocol, this side version 1") !=
        std::string::npos);
  CHECK(failure({"s", "new", 1}, {"s", "old", 1}).find("build 'old', this side is build 'new'") != std::string::npos);
  CHECK(failure({"right", "b"}, {"wrong", "b"}).find("secret") != std::string::npos);
}

TEST_CASE("a dialer is told that its secret was rejected") {
  handshake dialer(role::dialer, {"wrong", "b"}, "me"), acceptor(role::acceptor, {"right", "b"}, "");
  dialer.take(acceptor.output());
  CHECK_THROWS_AS(acceptor.take(dialer.output()), handshake_error);
  CHECK_THROWS_WITH_AS(dialer.take(acceptor.output()), doctest::Contains("another secret"), handshake_error);
}

TEST_CASE("a proof sent back is no proof") {
  // Who does not know the secret echoes what it hears.
  handshake acceptor(role::acceptor, {"secret", "b"}, ""), dialer(role::dialer, {"secret", "b"}, "me");
  dialer.take(dialer.output());  // a hello proves nothing
  CHECK_THROWS_AS(dialer.take(dialer.output()), handshake_error);
  dialer = handshake(role::dialer, {"secret", "b"}, "me");
  dialer.output();
  dialer.take(acceptor.output());
  CHECK_THROWS_AS(dialer.take(dialer.output()), handshake_error);
}

TEST_CASE("a proof of one conversation is worth nothing in another") {
  const handshake_identity me{"secret", "b"};
  handshake dialer(role::dialer, me, "me"), first(role::acceptor, me, ""), second(role::acceptor, me, "");
  auto said = dialer.output();
  dialer.take(first.output());
  const auto proof = dialer.output();
  said.insert(said.end(), proof.begin(), proof.end());
  CHECK_THROWS_AS(second.take(said), handshake_error);
  CHECK(first.take(said) == said.size());
}

TEST_CASE("strangers are recognised early, and may not say much") {
  const auto error_of = [](const std::string& said) {
    handshake acceptor(role::acceptor, {"secret", "b"}, "");
    try {
      acceptor.take(std::as_bytes(std::span(said)));
      return std::string();
    } catch (const handshake_error& error) {
      CHECK(!error.refusal);
      return std::string(error.what());
    }
  };
  CHECK(error_of("GET / HTTP/1.1\r\n") == "the other side is no Troupe node");
  CHECK(error_of("G") == "the other side is no Troupe node");
  CHECK(error_of("TROUPE").empty());
  CHECK(error_of("").empty());

  handshake dialer(role::dialer, {"secret", "b"}, "");
  const auto hello_bytes = dialer.output();
  const std::string hello(reinterpret_cast<const char*>(hello_bytes.data()), hello_bytes.size());
  CHECK(error_of(hello).empty());
  CHECK(error_of(hello + std::string("\3\0\0\0\1\0\0\0x", 9)).find("no place") != std::string::npos);
  CHECK(error_of(hello + std::string("\1\0\0\0\0\1\0\0", 8)).find("256 bytes") != std::string::npos);
}

TEST_CASE("whatever a stranger says, a handshake ends or waits") {
  for_each_seed(300, [](std::uint64_t seed) {
    std::mt19937_64 random(seed);
    handshake dialer(role::dialer, {"guess", "b"}, "me"), acceptor(role::acceptor, {"secret", "b"}, "");
    auto said = dialer.output();
    dialer.take(acceptor.output());
    const auto proof = dialer.output();
    said.insert(said.end(), proof.begin(), proof.end());
    for (int i = 0; i < 3; ++i)
      said[random() % said.size()] = static_cast<std::byte>(random());
    said.resize(random() % (said.size() + 1));
    try {
      acceptor.take(said);
    } catch (const handshake_error&) {
    }
    CHECK(!acceptor.authenticated());
    CHECK(!acceptor.introduction());
  });
}

TEST_CASE("texts beyond their bounds are not sent") {
  CHECK_THROWS_AS(handshake(role::dialer, {"s", std::string(81, 'b')}, ""), std::length_error);
  CHECK_THROWS_AS(handshake(role::dialer, {"s", "b"}, std::string(introduction_bytes_max + 1, 'x')), std::length_error);
  CHECK_THROWS_AS(handshake::answer({true, std::string(reply_bytes_max + 1, 'x'), false}), std::length_error);
}
