#include "runtime/transport/handshake.hpp"
#include "tests/fuzz/fuzz.hpp"

// What a stranger says to a node that listens, or that dialed him. Nonces are fixed, so that a seed's proofs are valid.

namespace {

using namespace troupe;
using role = handshake::role;

const handshake_identity me{"secret", "build 1"};

handshake make(role who) {
  handshake::nonce number;
  number.fill(static_cast<std::byte>(who));
  return {who, me, who == role::dialer ? "name = 'node 7'" : "", number};
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// All that one side says, after a byte that tells which.
std::string said_by(role who) {
  auto dialer = make(role::dialer), acceptor = make(role::acceptor);
  std::vector<std::byte> from_dialer = dialer.output(), from_acceptor = acceptor.output();
  std::size_t heard_by_dialer = 0, heard_by_acceptor = 0;
  while (!acceptor.introduction()) {
    heard_by_dialer += dialer.take(std::span(from_acceptor).subspan(heard_by_dialer));
    heard_by_acceptor += acceptor.take(std::span(from_dialer).subspan(heard_by_acceptor));
    for (const auto b : dialer.output())
      from_dialer.push_back(b);
    for (const auto b : acceptor.output())
      from_acceptor.push_back(b);
  }
  for (const auto b : handshake::answer({true, "welcome", false}))
    from_acceptor.push_back(b);
  return static_cast<char>(who) + text_of(who == role::dialer ? from_dialer : from_acceptor);
}

}  // namespace

std::vector<std::string> troupe::fuzz::seeds() { return {said_by(role::dialer), said_by(role::acceptor)}; }

void troupe::fuzz::read(std::string_view bytes) {
  if (bytes.empty())
    return;
  auto listener = make(bytes[0] == static_cast<char>(role::dialer) ? role::acceptor : role::dialer);
  const auto input = std::as_bytes(std::span(bytes)).subspan(1);
  // As a network does: what was not taken is offered again with what comes after it.
  std::size_t taken = 0;
  for (std::size_t end = 0; end < input.size();) {
    end = std::min(end + 50, input.size());
    taken += listener.take(input.subspan(taken, end - taken));
  }
  listener.output();
}
