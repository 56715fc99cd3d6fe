#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <thread>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/tensor/device.hpp"
#include "tests/bench/transport/contestant.hpp"

namespace troupe::bench {

namespace {

/// A blocking TCP socket and nothing else: whoever sends writes to it, one thread reads. What the machine allows.
class socket_contestant final : public contestant {
 public:
  ~socket_contestant() override {
    ::shutdown(link_, SHUT_RDWR);
    if (thread_.joinable())
      thread_.join();
    ::close(link_);
    ::close(listener_);
  }

  std::string listen() override {
    listener_ = open_socket();
    auto at = loopback(0);
    socklen_t size = sizeof(at);
    require(::bind(listener_, reinterpret_cast<sockaddr*>(&at), size) == 0 && ::listen(listener_, 1) == 0 &&
              ::getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size) == 0,
            "listen");
    thread_ = std::thread([this] {
      const int link = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      require(link >= 0, "accept");
      use(link);
      receive();
    });
    return std::to_string(ntohs(at.sin_port));
  }

  void connect(const std::string& where) override {
    const auto to = loopback(static_cast<std::uint16_t>(std::stoi(where)));
    const int link = open_socket();
    require(::connect(link, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0, "connect");
    use(link);
    thread_ = std::thread([this] { receive(); });
  }

  void send(control message) override {
    const std::lock_guard held(sending_);
    write_all(&message, sizeof(message));
  }

  void send_bulk() override {
    constexpr control header{is_bulk, 0};
    const std::lock_guard held(sending_);
    write_all(&header, sizeof(header));
    write_all(sources_[next_++ % sources_.size()].bytes(), bulk_bytes);
  }

 private:
  static constexpr std::uint64_t is_bulk = 1'000;  // no control message has this

  static void require(bool done, const char* what) {
    if (!done)
      throw std::runtime_error(std::string("cannot ") + what + ": " + std::strerror(errno));
  }

  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in result{};
    result.sin_family = AF_INET;
    result.sin_port = htons(port);
    result.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return result;
  }

  static int open_socket() {
    const int result = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(result >= 0, "make a socket");
    return result;
  }

  void use(int link) {
    const int on = 1;
    const int buffer_bytes = 256 << 10;  // as tcp_network has it: fits in a processor's cache
    ::setsockopt(link, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    ::setsockopt(link, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof(buffer_bytes));
    link_ = link;
  }

  void receive() {
    for (control message; read_all(&message, sizeof(message));) {
      if (message.what != is_bulk) {
        on_control(message);
        continue;
      }
      auto into = cpu_device().allocate(dtype::uint8, {static_cast<std::int64_t>(bulk_bytes)});
      if (!read_all(into.mutable_bytes(), bulk_bytes))
        return;
      on_bulk();
    }
  }

  /// False: the other side has gone.
  bool read_all(void* into, std::size_t size) {
    for (std::size_t done = 0; done < size;) {
      const auto got = ::recv(link_, static_cast<std::byte*>(into) + done, size - done, 0);
      if (got <= 0)
        return false;
      done += static_cast<std::size_t>(got);
    }
    return true;
  }

  void write_all(const void* from, std::size_t size) {
    for (std::size_t done = 0; done < size;) {
      const auto sent = ::send(link_, static_cast<const std::byte*>(from) + done, size - done, MSG_NOSIGNAL);
      require(sent > 0, "send");
      done += static_cast<std::size_t>(sent);
    }
  }

  const std::vector<tensor> sources_ = make_sources();
  std::size_t next_ = 0;
  int listener_ = -1, link_ = -1;
  std::mutex sending_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<contestant> make_sockets() { return std::make_unique<socket_contestant>(); }

}  // namespace troupe::bench
