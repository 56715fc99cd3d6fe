/// How connections begin: accepting, dialing, shaking hands.

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "runtime/transport/tcp_connection.hpp"
#include "runtime/transport/tls_stream.hpp"

namespace troupe {

namespace {

constexpr int accepts_max = 64;          // at a time, so that links get their turn
constexpr std::size_t chunk_bytes = 4096;

}  // namespace

// -- accepting -----------------------------------------------------------------

void tcp_loop::begin_accepting() {
  accepting_ = poller_.add(*listener_, listener_key, false);
}

void tcp_loop::accept_all() {
  for (int i = 0; i < accepts_max; ++i) {
    socket_address from;
    from.size = sizeof(from.storage);
    descriptor socket(::accept4(listener_->get(), reinterpret_cast<sockaddr*>(&from.storage), &from.size,
                                SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        // The caller stays in the listener's queue, which would be told again and again. The next tick tries anew.
        poller_.remove(*listener_);
        accepting_ = false;
      }
      return;
    }
    make_room_for_stranger();
    auto& c = add_connection();
    c.socket = std::make_shared<const descriptor>(std::move(socket));
    c.peer = to_string(from);
    c.is_stranger = true;
    ++strangers_;
    if (poller_.add(*c.socket, c.id, false))
      begin_handshake(c);
    else
      remove(c);
  }
}

/// Strangers cost a little memory each. The oldest has had the most time to say who it is.
void tcp_loop::make_room_for_stranger() {
  if (strangers_ < strangers_max_)
    return;
  const auto oldest = std::ranges::find_if(connections_, [](const auto& each) { return each.second->is_stranger; });
  tell_turned_away(*oldest->second, "it said nothing while others came that have not said who they are either");
  remove(*oldest->second);
}

tcp_loop::connection& tcp_loop::add_connection() {
  auto owner = std::make_unique<connection>();
  auto& c = *owner;
  c.id = next_id_++;
  connections_.emplace(c.id, std::move(owner));
  return c;
}

// -- dialing -------------------------------------------------------------------

void tcp_loop::dial(const std::string& endpoint, std::string introduction, std::function<void(dial_result)> done) {
  auto& c = add_connection();
  c.peer = endpoint;
  c.introduction = std::move(introduction);
  c.done = std::move(done);
  c.deadline = clock::now() + options_.dial_timeout;
  try {
    auto where = parse_endpoint(endpoint);
    if (c.introduction.size() > introduction_bytes_max)
      throw input_error(fmt::format("an introduction of {} bytes is longer than {}", c.introduction.size(),
                                    introduction_bytes_max));
    c.addresses = resolve(where, true);
    if (!c.addresses.empty())
      return connect_next(c);
    resolver_.look_up(std::move(where), [this, id = c.id](std::vector<socket_address> found, std::string reason) {
      post([this, id, found = std::move(found), reason = std::move(reason)]() mutable {
        const auto waiting = connections_.find(id);
        if (waiting == connections_.end())
          return;
        // In the order in which the system names them.
        std::ranges::reverse(found);
        waiting->second->addresses = std::move(found);
        waiting->second->failure = std::move(reason);
        connect_next(*waiting->second);
      });
    });
  } catch (const input_error& error) {
    give_up(c, error.what());
  }
}

void tcp_loop::connect_next(connection& c) {
  while (!c.addresses.empty()) {
    c.address = c.addresses.back();
    c.addresses.pop_back();
    auto socket = begin_connect(c.address);
    if (socket && poller_.add(socket, c.id, true)) {
      c.socket = std::make_shared<const descriptor>(std::move(socket));
      c.at = connection::phase::connecting;
      return;
    }
    c.failure = std::strerror(errno);
  }
  give_up(c, fmt::format("cannot be reached: {}; is a node running there, and its port open?", c.failure));
}

void tcp_loop::on_connected(connection& c) {
  int error = 0;
  socklen_t size = sizeof(error);
  ::getsockopt(c.socket->get(), SOL_SOCKET, SO_ERROR, &error, &size);
  // The system picks a port for this end, too. Where it picks the very one that is dialed, a socket meets itself.
  if (error == 0 && to_string(local_address(*c.socket)) == to_string(c.address))
    error = ECONNREFUSED;
  if (error == 0)
    return begin_handshake(c);
  c.failure = std::strerror(error);
  poller_.remove(*c.socket);
  connect_next(c);
}

// -- shaking hands -------------------------------------------------------------

void tcp_loop::begin_handshake(connection& c) {
  tune(*c.socket);
  poller_.watch_output(*c.socket, c.id, false);
  c.at = connection::phase::handshaking;
  c.deadline = std::min(c.deadline, clock::now() + options_.handshake_timeout);
  if (tls_)
    c.stream = std::make_shared<tls_stream>(*tls_, c.socket, !c.done);
  else
    c.stream = std::make_shared<plain_stream>(c.socket);
  c.out = std::make_shared<outbox>(poller_, c.socket, c.stream, c.id,
                                   outbox_bounds{options_.window_bytes, options_.control_bytes_max});
  continue_handshake(c);
}

void tcp_loop::continue_handshake(connection& c) {
  try {
    if (!c.shake)
      secure(c);
    if (c.shake)
      shake_hands(c);
  } catch (const handshake_error& error) {
    turn_away(c, error);
  }
}

/// The first thing a side says, once nobody else can hear it.
void tcp_loop::secure(connection& c) {
  const bool done = c.stream->secure();
  c.out->flush();
  if (!done)
    return;
  c.shake.emplace(c.done ? handshake::role::dialer : handshake::role::acceptor,
                  handshake_identity{options_.secret, options_.build, options_.protocol_version},
                  std::move(c.introduction));
  c.out->send({c.shake->output(), {}}, false);
}

void tcp_loop::shake_hands(connection& c) {
  std::array<std::byte, chunk_bytes> chunk;
  const iovec room{chunk.data(), chunk.size()};
  const auto bytes = c.stream->receive({&room, 1});
  if (bytes < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
    return;
  if (bytes <= 0)
    return give_up(c, handshake_cut_off);
  c.input.insert(c.input.end(), chunk.begin(), chunk.begin() + bytes);
  const auto taken = c.shake->take(c.input);
  c.input.erase(c.input.begin(), c.input.begin() + static_cast<std::ptrdiff_t>(taken));
  if (auto answer = c.shake->output(); !answer.empty())
    c.out->send({std::move(answer), {}}, false);
  if (c.is_stranger && c.shake->authenticated()) {
    c.is_stranger = false;
    --strangers_;
  }
  if (c.shake->introduction())
    introduce(c);
  else if (c.shake->reply())
    conclude(c, *c.shake->reply());
}

void tcp_loop::turn_away(connection& c, const handshake_error& reason) {
  const auto text = fmt::format("{}: {}", c.peer, reason.what());
  if (auto answer = c.shake ? c.shake->output() : std::vector<std::byte>(); !answer.empty())
    c.out->send({std::move(answer), {}}, false);
  c.out->flush();
  const auto done = std::exchange(c.done, {});
  if (!done && std::string_view(reason.what()) != handshake_cut_off)
    tell_turned_away(c, reason.what());
  // A stranger is left alone. One of ours has to learn why.
  if (reason.refusal)
    drain(c, {});
  else
    remove(c);
  if (done)
    done({0, text, reason.refusal});
}

void tcp_loop::tell_turned_away(const connection& c, std::string_view reason) const {
  if (options_.on_turned_away)
    options_.on_turned_away(fmt::format("{}: {}", c.peer, reason));
}

/// The acceptor's end of the handshake. Others may send to the link as soon as they hear of it, but the answer has to
/// be first.
void tcp_loop::introduce(connection& c) {
  c.out->cork();
  links_.insert(c.id, c.out);
  const auto reply = events_.on_introduction(c.id, *c.shake->introduction());
  const bool ends = !reply.accepted || reply.close_after;
  if (ends)
    links_.remove(c.id);
  c.out->uncork({handshake::answer(reply), {}});
  if (!reply.accepted)
    tell_turned_away(c, reply.text);
  if (ends)
    drain(c, reply.accepted ? goodbye() : outgoing());
  else
    open(c);
}

/// The dialer's end of the handshake.
void tcp_loop::conclude(connection& c, const introduction_reply& reply) {
  const auto done = std::exchange(c.done, {});
  if (!reply.accepted) {
    drain(c, {});
    return done({0, reply.text, true});
  }
  links_.insert(c.id, c.out);
  done({c.id, reply.text, false});
  open(c);
}

/// From here on there are frames.
void tcp_loop::open(connection& c) {
  c.at = connection::phase::open;
  c.shake.reset();
  c.reader.emplace(options_.limits);
  c.detector.emplace(phi_detector::settings{.interval = peers_.heartbeat,
                                            .deviation_min = 2 * peers_.heartbeat,
                                            .threshold = peers_.phi,
                                            .silence_max = peers_.silence_max},
                     clock::now());
  c.deliver = [this, &c](parcel message) {
    if (!c.out->has_stopped())
      events_.on_parcel(c.id, std::move(message));
    else if (events_.on_late)
      events_.on_late(c.id);
    return true;
  };
  const auto early = std::exchange(c.input, {});
  take_frames(c, [&] { return c.reader->take(early, c.deliver); });
}

}  // namespace troupe
