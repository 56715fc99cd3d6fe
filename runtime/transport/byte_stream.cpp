#include "runtime/transport/byte_stream.hpp"

#include <sys/socket.h>

namespace troupe {

namespace {

msghdr message_of(std::span<const iovec> pieces) noexcept {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  return message;
}

}  // namespace

ssize_t plain_stream::receive(std::span<const iovec> room) {
  auto message = message_of(room);
  return ::recvmsg(socket_->get(), &message, MSG_DONTWAIT);
}

ssize_t plain_stream::send(std::span<const iovec> pieces) {
  const auto message = message_of(pieces);
  return ::sendmsg(socket_->get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool plain_stream::finish() {
  ::shutdown(socket_->get(), SHUT_WR);
  return true;
}

}  // namespace troupe
