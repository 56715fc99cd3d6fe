#pragma once

/// How the bytes of a connection pass its socket: as they are, or encrypted (`tls_stream`).

#include <sys/types.h>
#include <sys/uio.h>

#include <memory>
#include <span>

#include "runtime/transport/socket.hpp"

namespace troupe {

/// Over a socket that does not block. One thread at a time reads (the network's), and one at a time writes; both may be
/// at it at once.
class byte_stream {
 public:
  virtual ~byte_stream() = default;

  // -- for who reads -----------------------------------------------------------

  /// Agrees with the other side on how bytes travel; whether that is done, and bytes can be sent and received.
  /// Otherwise it is to be called again when there is input. What is to be sent for it is held as output. Throws
  /// handshake_error.
  virtual bool secure() = 0;

  /// As recvmsg: the number of bytes, 0 at the end, -1 with errno; EAGAIN: there are none now. Throws input_error where
  /// the other side does not keep to what was agreed.
  virtual ssize_t receive(std::span<const iovec> room) = 0;

  /// Whether there may be more to receive of which the socket, that was read ahead, will not tell.
  virtual bool holds_input() const = 0;

  // -- for who writes ----------------------------------------------------------

  /// As sendmsg: how many bytes were taken, and are needed no more; -1 with errno. Without pieces, sends what is held.
  virtual ssize_t send(std::span<const iovec> pieces) = 0;

  /// Whether some of what was taken, or what the stream itself has to say, waits for room. Any thread may ask.
  virtual bool holds_output() const = 0;

  /// Ends this direction; whether that is done. Otherwise it is to be called again when there is room.
  /// REQUIRES: no output is held.
  virtual bool finish() = 0;
};

/// As they are.
class plain_stream final : public byte_stream {
 public:
  explicit plain_stream(std::shared_ptr<const descriptor> socket) : socket_(std::move(socket)) {}

  bool secure() override { return true; }
  ssize_t receive(std::span<const iovec> room) override;
  bool holds_input() const override { return false; }
  ssize_t send(std::span<const iovec> pieces) override;
  bool holds_output() const override { return false; }
  bool finish() override;

 private:
  const std::shared_ptr<const descriptor> socket_;
};

}  // namespace troupe
