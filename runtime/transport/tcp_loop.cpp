#include "runtime/transport/tcp_loop.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include <fmt/format.h>

#include "runtime/transport/tcp_connection.hpp"

namespace troupe {

namespace {

/// From one connection at a time, so that the others, and the clock, get their turn.
constexpr std::size_t receive_bytes_max = std::size_t{8} << 20;
/// What strangers may have of this process's descriptors, which others need for files and links.
constexpr std::size_t strangers_share = 4;
/// A tick that is later than this many intervals says that this process stood still, not its peers.
constexpr int late_intervals = 5;

}  // namespace

tcp_loop::tcp_loop(const tcp_options& options, link_table& links, poller& sockets)
    : options_(options),
      peers_(options.peers),
      links_(links),
      poller_(sockets),
      strangers_max_(std::clamp<std::size_t>(descriptor_limit() / strangers_share, 1, options.unauthenticated_max)) {
  if (options_.tls)
    tls_.emplace(*options_.tls);
}

tcp_loop::~tcp_loop() = default;

// -- the loop ----------------------------------------------------------------

void tcp_loop::run(const descriptor& listener, network_events events) {
  thread_ = std::this_thread::get_id();
  events_ = std::move(events);
  listener_ = &listener;
  next_tick_ = clock::now() + peers_.heartbeat;
  begin_accepting();
  for (bool ending = false;;) {
    if (!ending) {
      const std::lock_guard held(mutex_);
      ending = stopped_;
    }
    // What was posted before the stop is done before the end.
    call_posted();
    if (ending)
      end_all();
    if (ending && connections_.empty())
      break;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next_tick_ - clock::now());
    for (const auto& event : poller_.wait(std::max(left, std::chrono::milliseconds{0})))
      on_event(event);
    if (const auto now = clock::now(); now >= next_tick_)
      tick(now);
  }
  // Dials that the end of others has called for.
  call_posted();
  end_all();
}

void tcp_loop::post(std::function<void()> f) {
  {
    const std::lock_guard held(mutex_);
    posted_.push_back(std::move(f));
  }
  poller_.wake();
}

void tcp_loop::stop() {
  {
    const std::lock_guard held(mutex_);
    stopped_ = true;
  }
  poller_.wake();
}

void tcp_loop::call_posted() {
  std::vector<std::function<void()>> now;
  {
    const std::lock_guard held(mutex_);
    now.swap(posted_);
  }
  for (const auto& f : now)
    f();
}

void tcp_loop::on_event(const epoll_event& event) {
  if (event.data.u64 == listener_key)
    return accept_all();
  const auto found = connections_.find(event.data.u64);
  if (found == connections_.end())
    return;
  auto& c = *found->second;
  if (c.at == connection::phase::connecting)
    return on_connected(c);
  if ((event.events & EPOLLOUT) != 0)
    c.out->write();
  if ((event.events & (EPOLLIN | EPOLLERR | EPOLLHUP)) == 0)
    return;
  on_input(c);
  // Of what was read ahead no event will tell.
  for (;;) {
    const auto still = connections_.find(event.data.u64);
    if (still == connections_.end() || still->second->at == connection::phase::draining ||
        !still->second->stream->holds_input())
      return;
    on_input(*still->second);
  }
}

void tcp_loop::on_input(connection& c) {
  if (c.at == connection::phase::handshaking)
    continue_handshake(c);
  else if (c.at == connection::phase::open)
    receive(c);
  else
    discard_input(c);
}

void tcp_loop::tick(clock::time_point now) {
  const bool stood_still = now - next_tick_ > late_intervals * peers_.heartbeat;
  next_tick_ = now + peers_.heartbeat;
  if (!accepting_)
    begin_accepting();
  for (auto next = connections_.begin(); next != connections_.end();) {
    auto& c = *next++->second;  // it may go
    if (c.at == connection::phase::open) {
      if (stood_still)
        c.detector->forgive(now);
      if (options_.heartbeats)
        c.out->send_heartbeat();
      if (const auto evidence = c.detector->suspicion(now))
        fence(c, *evidence);
    } else if (now >= c.deadline) {
      if (c.at == connection::phase::handshaking && !c.done)
        tell_turned_away(c, "it did not say who it is in time");
      give_up(c, c.at == connection::phase::handshaking ? "the handshake took too long"
                                                        : "there was no answer within the time for dialing");
    }
  }
}

void tcp_loop::end_all() {
  for (auto next = connections_.begin(); next != connections_.end();) {
    auto& c = *next++->second;
    if (c.at == connection::phase::draining && !c.is_fenced)
      continue;
    links_.remove(c.id);  // nobody is told
    give_up(c, "this node is ending");
  }
}

// -- the life of a connection -------------------------------------------------

void tcp_loop::receive(connection& c) try {
  for (std::size_t received = 0; received < receive_bytes_max || c.stream->holds_input();) {
    const auto room = c.reader->room();
    const auto bytes = c.stream->receive(room);
    if (bytes < 0 && errno == EINTR)
      continue;
    if (bytes < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
      return;
    if (bytes < 0)
      return give_up(c, fmt::format("receiving failed: {}", std::strerror(errno)));
    if (bytes == 0)
      return give_up(c, c.reader->said_goodbye() ? "the other side closed the link"
                                                 : "the connection ended without a goodbye: the process there was killed, or "
                                                   "had given this one up");
    c.detector->heard(clock::now());
    std::size_t asked = 0;
    for (const auto& piece : room)
      asked += piece.iov_len;
    if (!take_frames(c, [&] { return c.reader->filled(static_cast<std::size_t>(bytes), c.deliver); }))
      return;
    if (static_cast<std::size_t>(bytes) < asked && !c.stream->holds_input())
      return;  // there is no more yet
    received += static_cast<std::size_t>(bytes);
  }
} catch (const handshake_error& error) {
  give_up(c, error.what());
}

// -- its end -------------------------------------------------------------------

void tcp_loop::finish(link_id link) {
  const auto found = connections_.find(link);
  if (found == connections_.end() || found->second->at == connection::phase::draining)
    return;
  drain(*found->second, goodbye());
}

outgoing tcp_loop::goodbye() {
  const auto bytes = encode_prefix({frame_kind::goodbye, 0, 0});
  return {{bytes.begin(), bytes.end()}, {}};
}

void tcp_loop::drain(connection& c, outgoing last) {
  c.at = connection::phase::draining;
  c.deadline = clock::now() + options_.close_timeout;
  c.out->finish(std::move(last));
}

void tcp_loop::discard_input(connection& c) try {
  std::array<std::byte, 64 * 1024> nowhere;
  const auto bytes = c.reader ? c.stream->receive(c.reader->room())
                              : ::recv(c.socket->get(), nowhere.data(), nowhere.size(), MSG_DONTWAIT);
  if (bytes == 0 || (bytes < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
    remove(c);
  else if (bytes > 0 && c.reader)
    c.reader->filled(static_cast<std::size_t>(bytes), c.deliver);
} catch (const std::exception&) {
  remove(c);  // what it sends makes no sense, and nobody waits for it
}

/// Whoever is silent may come back, and is to learn that it was given up; what it sends then is not taken.
void tcp_loop::fence(connection& c, const std::string& evidence) {
  if (links_.remove(c.id))
    events_.on_lost(c.id, fmt::format("{}: {}", c.peer, evidence));
  c.is_fenced = true;
  drain(c, goodbye());
}

void tcp_loop::give_up(connection& c, const std::string& reason) {
  const auto link = c.id;
  const auto done = std::exchange(c.done, {});
  const auto own = c.out ? c.out->failure() : std::string();
  const auto evidence = fmt::format("{}: {}", c.peer, own.empty() ? reason : own);
  const bool is_told = links_.remove(link) != nullptr;
  remove(c);
  if (done)
    done({0, evidence, false});
  else if (is_told)
    events_.on_lost(link, evidence);
}

void tcp_loop::remove(connection& c) {
  if (c.socket)
    poller_.remove(*c.socket);
  if (c.out)
    c.out->end();
  strangers_ -= c.is_stranger;
  connections_.erase(c.id);
}

}  // namespace troupe
