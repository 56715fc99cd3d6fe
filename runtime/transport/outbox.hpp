#pragma once

/// The sending half of a link: a queue of frames in front of a stream.

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/tensor/tensor.hpp"
#include "runtime/transport/byte_stream.hpp"
#include "runtime/transport/socket.hpp"

namespace troupe {

/// A frame on its way: some bytes, then the elements of tensors from where they lie. The handles keep them there, and
/// go as soon as the system has taken the last byte.
struct outgoing {
  outgoing() = default;
  outgoing(std::vector<std::byte> bytes, std::vector<tensor> elements);

  std::vector<std::byte> head;
  std::vector<tensor> tensors;  ///< none is empty
  std::size_t size_bytes = 0;
  std::size_t sent_bytes = 0;
  bool may_block = false;       ///< whether its sender waited for room
};

struct outbox_bounds {
  std::size_t window_bytes;       ///< while more wait, senders that may block do
  std::size_t control_bytes_max;  ///< of what waits from senders that do not block; more ends the link
};

/// Whoever sends into an empty queue writes to the socket at once, in its own thread and without a lock. What does not
/// fit, and what others send meanwhile, is left to the network's thread, which goes on when the socket has room. So a
/// message costs no change of thread, a sender never does more than its own share, and order is that of the queue.
///
/// Thread safe where it says so; the rest is for the network's thread.
class outbox {
 public:
  outbox(poller& sockets, std::shared_ptr<const descriptor> socket, std::shared_ptr<byte_stream> stream,
         std::uint64_t key, const outbox_bounds& bounds);

  /// Thread safe. Blocks where `may_block` and more than the window waits. Does nothing once the link has ended.
  void send(outgoing frame, bool may_block);

  /// Thread safe. Takes no more, and lets go who waits for room. What was taken still leaves.
  void stop_taking();
  bool has_stopped() const;

  /// Holds back what is sent from now on, until `uncork`: that something may precede it.
  void cork();
  void uncork(outgoing first);

  /// The socket has room.
  void write();

  /// The stream may have something of its own to say.
  void flush();

  /// Sends a sign of life where nothing was sent since the last call.
  void send_heartbeat();

  /// Takes no more; ends the connection's own direction after all that was taken, and `last`, have left.
  void finish(outgoing last);

  /// Drops everything.
  void end();

  /// Why sending has failed, where it has. The connection was shut down then, so that its end shows as input.
  std::string failure() const;

 private:
  using lock = std::unique_lock<std::mutex>;

  /// Who writes to the socket. The network's thread keeps at it as long as the socket has no room.
  enum class writer : std::uint8_t { nobody, sender, network };

  void append(outgoing frame);
  void start(lock& held);
  void write_once(lock& held);
  void pass_on();
  void take_off(std::size_t bytes, std::vector<outgoing>& done);
  void fail(std::string reason);
  void clear();

  poller& poller_;
  const std::shared_ptr<const descriptor> socket_;
  const std::shared_ptr<byte_stream> stream_;
  const std::uint64_t key_;
  const outbox_bounds bounds_;

  mutable std::mutex mutex_;
  std::condition_variable room_;
  std::deque<outgoing> queue_;
  std::deque<outgoing> held_back_;
  std::size_t waiting_bytes_ = 0;
  std::size_t control_bytes_ = 0;  ///< the part of them that was sent without blocking
  writer writer_ = writer::nobody;
  bool corked_ = false;
  bool stopped_ = false;           ///< takes no more
  bool finishing_ = false;
  bool ended_ = false;             ///< writes no more
  bool wrote_ = false;             ///< since the last look
  std::string failure_;
};

}  // namespace troupe
