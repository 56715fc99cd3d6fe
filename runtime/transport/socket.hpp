#pragma once

/// Sockets, addresses and what can be waited for, as thin as they go.

#include <sys/epoll.h>
#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace troupe {

/// Owns a file descriptor.
class descriptor {
 public:
  descriptor() = default;
  explicit descriptor(int value) noexcept : value_(value) {}
  descriptor(descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  descriptor& operator=(descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~descriptor();

  int get() const noexcept { return value_; }
  explicit operator bool() const noexcept { return value_ >= 0; }

 private:
  int value_ = -1;
};

struct socket_address {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
};

/// Descriptors that this process may have at a time.
std::size_t descriptor_limit() noexcept;

/// Raises that limit as far as the system lets a process raise its own: many are given 1,024 and may have far more.
void raise_descriptor_limit() noexcept;

/// "10.0.0.7:4000", "[::1]:4000".
std::string to_string(const socket_address& address);

struct host_and_port {
  std::string host;
  std::string port;
};

/// Takes "HOST:PORT" and "[V6]:PORT" apart. Throws input_error.
host_and_port parse_endpoint(const std::string& endpoint);

/// The addresses of a host. With `numeric`, none where it is a name; without, asks the system's resolver, which may
/// take many seconds. Throws system_error where a name has none.
std::vector<socket_address> resolve(const host_and_port& where, bool numeric);

/// Bound, not yet listening. Throws system_error.
descriptor make_listener(const std::string& host, std::uint16_t port);
socket_address local_address(const descriptor& socket);

/// Begins to connect; the socket is writable once that has ended. Invalid, with errno set, where it ended at once.
descriptor begin_connect(const socket_address& to) noexcept;

/// For a connected socket that is to carry frames: no delay, buffers that suit the way.
void tune(const descriptor& socket) noexcept;

/// Waits for sockets. Level-triggered.
class poller {
 public:
  poller();

  /// From now on tells of input, errors and ends, and where `output` is set of room for output; false, with errno set,
  /// where the system has no room for one more. Key 0 is the poller's own.
  bool add(const descriptor& socket, std::uint64_t key, bool output) noexcept;
  /// Thread safe. Nothing happens where the socket was removed.
  void watch_output(const descriptor& socket, std::uint64_t key, bool output) noexcept;
  void remove(const descriptor& socket) noexcept;

  /// What happened, after at most that time.
  std::span<const epoll_event> wait(std::chrono::milliseconds at_most);

  /// Thread safe: ends the current or the next wait.
  void wake() noexcept;

 private:
  descriptor epoll_;
  descriptor wake_;
  std::vector<epoll_event> events_;
};

}  // namespace troupe
