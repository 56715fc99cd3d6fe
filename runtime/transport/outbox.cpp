#include "runtime/transport/outbox.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "runtime/transport/frame.hpp"

namespace troupe {

namespace {

constexpr std::size_t pieces_max = 64;  // of one call to the system

class gathering {
 public:
  bool is_full() const noexcept { return count_ == pieces_.size(); }

  void add(const std::byte* data, std::size_t size, std::size_t& skip) noexcept {
    const auto skipped = std::min(skip, size);
    skip -= skipped;
    if (skipped < size && !is_full())
      pieces_[count_++] = {const_cast<std::byte*>(data) + skipped, size - skipped};
  }

  void add(const outgoing& frame) noexcept {
    auto skip = frame.sent_bytes;
    add(frame.head.data(), frame.head.size(), skip);
    for (const auto& each : frame.tensors) {
      if (is_full())
        return;
      add(each.bytes(), each.size_bytes(), skip);
    }
  }

  std::span<const iovec> pieces() const noexcept { return {pieces_.data(), count_}; }

 private:
  std::array<iovec, pieces_max> pieces_;
  std::size_t count_ = 0;
};

}  // namespace

outgoing::outgoing(std::vector<std::byte> bytes, std::vector<tensor> elements)
    : head(std::move(bytes)), tensors(std::move(elements)), size_bytes(head.size()) {
  std::erase_if(tensors, [](const tensor& each) { return !each || each.size_bytes() == 0; });
  for (const auto& each : tensors)
    size_bytes += each.size_bytes();
}

outbox::outbox(poller& sockets, std::shared_ptr<const descriptor> socket, std::shared_ptr<byte_stream> stream,
               std::uint64_t key, const outbox_bounds& bounds)
    : poller_(sockets), socket_(std::move(socket)), stream_(std::move(stream)), key_(key), bounds_(bounds) {}

void outbox::send(outgoing frame, bool may_block) {
  lock held(mutex_);
  frame.may_block = may_block;
  if (may_block)
    room_.wait(held, [&] { return stopped_ || waiting_bytes_ <= bounds_.window_bytes; });
  if (stopped_)
    return;
  append(std::move(frame));
  start(held);
}

void outbox::append(outgoing frame) {
  if (!frame.may_block) {
    control_bytes_ += frame.size_bytes;
    if (control_bytes_ > bounds_.control_bytes_max)
      return fail(fmt::format("{} bytes of messages wait to be sent, more than {}: the other side does not receive",
                              control_bytes_, bounds_.control_bytes_max));
  }
  waiting_bytes_ += frame.size_bytes;
  (corked_ ? held_back_ : queue_).push_back(std::move(frame));
}

/// Writes, if there is something to write and nobody at it.
void outbox::start(lock& held) {
  if (writer_ != writer::nobody || queue_.empty() || ended_)
    return;
  writer_ = writer::sender;
  write_once(held);
  pass_on();
}

/// REQUIRES: the calling thread is the writer. The lock is open while the system copies.
void outbox::write_once(lock& held) {
  std::vector<outgoing> done;  // handles are dropped when the lock is open again
  gathering pieces;
  for (const auto& frame : queue_) {
    if (pieces.is_full())
      break;
    pieces.add(frame);
  }
  held.unlock();
  const auto sent = stream_->send(pieces.pieces());
  const auto reason = errno;
  held.lock();
  if (sent > 0 && !ended_) {
    wrote_ = true;
    take_off(static_cast<std::size_t>(sent), done);
  } else if (sent < 0 && reason != EAGAIN && reason != EWOULDBLOCK && reason != EINTR) {
    fail(fmt::format("sending failed: {}", std::strerror(reason)));
  }
  held.unlock();
  done.clear();
  held.lock();
}

/// Ends a writer's turn: what is left is the network's.
void outbox::pass_on() {
  const auto before = std::exchange(writer_, writer::nobody);
  if (ended_)
    return clear();
  if (!queue_.empty() || stream_->holds_output() || (finishing_ && !stream_->finish()))
    writer_ = writer::network;
  if ((before == writer::network) != (writer_ == writer::network))
    poller_.watch_output(*socket_, key_, writer_ == writer::network);
}

void outbox::take_off(std::size_t bytes, std::vector<outgoing>& done) {
  const bool was_full = waiting_bytes_ > bounds_.window_bytes;
  waiting_bytes_ -= bytes;
  while (bytes > 0) {
    auto& front = queue_.front();
    const auto taken = std::min(bytes, front.size_bytes - front.sent_bytes);
    front.sent_bytes += taken;
    bytes -= taken;
    if (front.sent_bytes < front.size_bytes)
      break;
    if (!front.may_block)
      control_bytes_ -= front.size_bytes;
    if (!front.tensors.empty())
      done.push_back(std::move(front));
    queue_.pop_front();
  }
  if (was_full && waiting_bytes_ <= bounds_.window_bytes)
    room_.notify_all();
}

void outbox::stop_taking() {
  const lock held(mutex_);
  stopped_ = true;
  room_.notify_all();
}

bool outbox::has_stopped() const {
  const lock held(mutex_);
  return stopped_;
}

void outbox::cork() {
  const lock held(mutex_);
  corked_ = true;
}

void outbox::uncork(outgoing first) {
  lock held(mutex_);
  corked_ = false;
  if (ended_)
    return;
  append(std::move(first));
  for (auto& frame : std::exchange(held_back_, {}))
    queue_.push_back(std::move(frame));
  start(held);
}

void outbox::write() {
  lock held(mutex_);
  if (writer_ != writer::network)
    return;
  write_once(held);
  pass_on();
}

void outbox::flush() {
  lock held(mutex_);
  // Whoever writes now looks for it at the end of its turn.
  if (writer_ != writer::nobody || ended_ || !stream_->holds_output())
    return;
  writer_ = writer::sender;
  write_once(held);
  pass_on();
}

void outbox::send_heartbeat() {
  lock held(mutex_);
  if (std::exchange(wrote_, false) || stopped_ || corked_ || writer_ != writer::nobody)
    return;
  const auto bytes = encode_prefix({frame_kind::heartbeat, 0, 0});
  append({{bytes.begin(), bytes.end()}, {}});
  start(held);
  wrote_ = false;
}

void outbox::finish(outgoing last) {
  lock held(mutex_);
  stopped_ = true;
  finishing_ = true;
  room_.notify_all();
  if (ended_)
    return;
  if (last.size_bytes > 0)
    append(std::move(last));
  if (writer_ == writer::nobody && queue_.empty())
    pass_on();
  else
    start(held);
}

void outbox::end() {
  const lock held(mutex_);
  stopped_ = ended_ = true;
  room_.notify_all();
  ::shutdown(socket_->get(), SHUT_RDWR);
  // A sender who is at it clears up when it comes back.
  if (writer_ != writer::sender)
    clear();
}

std::string outbox::failure() const {
  const lock held(mutex_);
  return failure_;
}

/// Shows the network's thread an end of the connection, which then calls `end`.
void outbox::fail(std::string reason) {
  if (std::exchange(ended_, true))
    return;
  stopped_ = true;
  failure_ = std::move(reason);
  room_.notify_all();
  ::shutdown(socket_->get(), SHUT_RDWR);
}

void outbox::clear() {
  queue_.clear();
  held_back_.clear();
  waiting_bytes_ = control_bytes_ = 0;
}

}  // namespace troupe
