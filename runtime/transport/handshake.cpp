#include "runtime/transport/handshake.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

namespace troupe {

namespace {

static_assert(std::endian::native == std::endian::little, "numbers go over the wire as they lie in memory");

// hello: magic | version :UInt32 | size of build :UInt32 | nonce | build, then zeros
constexpr std::size_t version_at = 8, build_size_at = 12, nonce_at = 16, build_at = 48;
static_assert(build_at + build_bytes_max == 128);

// The first byte of one who speaks TLS: of his first message, or of his answer to a hello.
constexpr std::byte tls_alert{21}, tls_handshake{22};

// message: what :UInt32 | size of content :UInt32 | content
constexpr std::size_t message_head_bytes = 8;

handshake::nonce random_nonce() {
  handshake::nonce out;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size())) != 1)
    throw system_error("the system gives no random numbers");
  return out;
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// What a stranger says may end in a log.
std::string printable(std::string text) {
  std::ranges::replace_if(text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

std::uint32_t number_at(std::span<const std::byte> bytes, std::size_t offset) {
  std::uint32_t out = 0;
  std::memcpy(&out, &bytes[offset], sizeof(out));
  return out;
}

void put_number(std::byte* where, std::uint32_t value) { std::memcpy(where, &value, sizeof(value)); }

void append(std::vector<std::byte>& to, std::span<const std::byte> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

}  // namespace

handshake::handshake(role mine, const handshake_identity& me, std::string introduction)
    : handshake(mine, me, std::move(introduction), random_nonce()) {}

handshake::handshake(role mine, const handshake_identity& me, std::string introduction, const nonce& number)
    : mine_(mine), me_(me), introduction_(std::move(introduction)) {
  if (me_.build.size() > build_bytes_max)
    throw std::length_error(fmt::format("a build's name has {} bytes, more than {}", me_.build.size(),
                                        build_bytes_max));
  if (introduction_.size() > introduction_bytes_max)
    throw std::length_error(fmt::format("an introduction has {} bytes, more than {}", introduction_.size(),
                                        introduction_bytes_max));
  std::memcpy(my_hello_.data(), hello_magic.data(), hello_magic.size());
  put_number(&my_hello_[version_at], me_.version);
  put_number(&my_hello_[build_size_at], static_cast<std::uint32_t>(me_.build.size()));
  std::ranges::copy(number, &my_hello_[nonce_at]);
  std::ranges::copy(std::as_bytes(std::span(me_.build)), &my_hello_[build_at]);
  append(output_, my_hello_);
}

std::vector<std::byte> handshake::output() { return std::exchange(output_, {}); }

std::size_t handshake::take(std::span<const std::byte> input) {
  std::size_t taken = 0;
  while (!is_over()) {
    const auto rest = input.subspan(taken);
    if (!their_hello_) {
      // A stranger is recognised by its first bytes; it may never send as many as a hello has.
      const auto seen = std::min(rest.size(), hello_magic.size());
      if (seen > 0 && (rest[0] == tls_handshake || rest[0] == tls_alert))
        throw handshake_error("the other side speaks TLS, which this side does not; give it to all nodes, or to none",
                              true);
      if (std::memcmp(rest.data(), hello_magic.data(), seen) != 0)
        throw handshake_error("the other side is no Troupe node", false);
      if (rest.size() < hello_bytes)
        break;
      read_hello(rest.first(hello_bytes));
      taken += hello_bytes;
      continue;
    }
    if (rest.size() < message_head_bytes)
      break;
    const auto what = static_cast<message>(number_at(rest, 0));
    const std::size_t size = number_at(rest, 4);
    if (size > size_max(what))
      throw handshake_error(fmt::format("a message of {} bytes has no place in the handshake here", size), false);
    if (rest.size() < message_head_bytes + size)
      break;
    read_message(what, rest.subspan(message_head_bytes, size));
    taken += message_head_bytes + size;
  }
  return taken;
}

void handshake::read_hello(std::span<const std::byte> bytes) {
  const auto version = number_at(bytes, version_at);
  const auto build_size = number_at(bytes, build_size_at);
  if (build_size > build_bytes_max)
    throw handshake_error("a hello's build is longer than the hello", false);
  if (version != me_.version)
    throw handshake_error(fmt::format("the other side speaks version {} of the protocol, this side version {}; run the "
                                      "same release of Troupe on all nodes", version, me_.version), true);
  const auto build = text_of(bytes.subspan(build_at, build_size));
  if (build != me_.build)
    throw handshake_error(fmt::format("the other side is build '{}', this side is build '{}'; run the same build on "
                                      "all nodes", printable(build), me_.build), true);
  std::ranges::copy(bytes, their_hello_.emplace().begin());
  // The dialer proves first: who only knocks at a door learns nothing that was made with the secret.
  if (mine_ == role::dialer)
    put(message::proof, proof_of(role::dialer));
}

/// What may come now, and how long it may be; before the proof next to nothing.
std::size_t handshake::size_max(message what) const {
  const bool fits = mine_ == role::dialer
                        ? (authenticated_ ? what == message::accepted || what == message::refused
                                          : what == message::proof || what == message::proof_rejected)
                        : what == (authenticated_ ? message::introduction : message::proof);
  if (!fits)
    throw handshake_error(fmt::format("message {} has no place in the handshake here", static_cast<unsigned>(what)),
                          false);
  switch (what) {
    case message::proof:
      return proof_bytes;
    case message::proof_rejected:
      return 0;
    case message::introduction:
      return introduction_bytes_max;
    case message::accepted:
    case message::refused:
      return reply_bytes_max;
  }
  return 0;
}

void handshake::read_message(message what, std::span<const std::byte> content) {
  switch (what) {
    case message::proof: {
      const auto expected = proof_of(mine_ == role::dialer ? role::acceptor : role::dialer);
      authenticated_ = content.size() == expected.size() &&
                       CRYPTO_memcmp(content.data(), expected.data(), expected.size()) == 0;
      if (!authenticated_) {
        if (mine_ == role::acceptor)
          put(message::proof_rejected, {});
        throw handshake_error("the other side does not know this cluster's secret; give all nodes the same", true);
      }
      if (mine_ == role::acceptor)
        put(message::proof, proof_of(role::acceptor));
      else
        put(message::introduction, std::as_bytes(std::span(introduction_)));
      return;
    }
    case message::proof_rejected:
      throw handshake_error("the other side's cluster has another secret; give all nodes the same", true);
    case message::introduction:
      received_introduction_ = text_of(content);
      return;
    case message::accepted:
    case message::refused:
      reply_ = {what == message::accepted, text_of(content), false};
      return;
  }
}

void handshake::put(message what, std::span<const std::byte> content) {
  std::array<std::byte, message_head_bytes> head;
  put_number(&head[0], static_cast<std::uint32_t>(what));
  put_number(&head[4], static_cast<std::uint32_t>(content.size()));
  append(output_, head);
  append(output_, content);
}

std::vector<std::byte> handshake::answer(const introduction_reply& reply) {
  if (reply.text.size() > reply_bytes_max)
    throw std::length_error(fmt::format("a reply has {} bytes, more than {}", reply.text.size(), reply_bytes_max));
  std::vector<std::byte> out(message_head_bytes);
  put_number(&out[0], static_cast<std::uint32_t>(reply.accepted ? message::accepted : message::refused));
  put_number(&out[4], static_cast<std::uint32_t>(reply.text.size()));
  append(out, std::as_bytes(std::span(reply.text)));
  return out;
}

/// HMAC-SHA256 over a label, who speaks, and both hellos: versions, builds and nonces.
std::array<std::byte, handshake::proof_bytes> handshake::proof_of(role who) const {
  const bool i_dial = mine_ == role::dialer;
  std::vector<std::byte> text;
  append(text, std::as_bytes(std::span(std::string_view("troupe handshake"))));
  text.push_back(static_cast<std::byte>(who));
  append(text, i_dial ? my_hello_ : *their_hello_);
  append(text, i_dial ? *their_hello_ : my_hello_);
  std::array<std::byte, proof_bytes> out;
  unsigned size = 0;
  if (HMAC(EVP_sha256(), me_.secret.data(), static_cast<int>(me_.secret.size()),
           reinterpret_cast<const unsigned char*>(text.data()), text.size(),
           reinterpret_cast<unsigned char*>(out.data()), &size) == nullptr || size != out.size())
    throw system_error("OpenSSL computes no HMAC-SHA256");
  return out;
}

}  // namespace troupe
