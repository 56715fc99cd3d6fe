#pragma once

/// A TCP proxy that a test can tear: the connection between two processes breaks, and both live on.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace troupe {

/// Listens on one address of this machine, and connects to the same port of another.
class proxy {
 public:
  proxy(const std::string& from, const std::string& to, std::uint16_t port)
      : to_(address(to, port)), listening_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int on = 1;
    ::setsockopt(listening_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const auto here = address(from, port);
    REQUIRE(::bind(listening_, reinterpret_cast<const sockaddr*>(&here), sizeof here) == 0);
    REQUIRE(::listen(listening_, 16) == 0);
    thread_ = std::thread([this] { carry(); });
  }
  ~proxy() {
    ending_ = true;
    thread_.join();
    ::close(listening_);
  }
  proxy(const proxy&) = delete;
  proxy& operator=(const proxy&) = delete;

  /// Breaks all connections there are; later ones are carried as before.
  void tear() { tear_ = true; }
  /// Connections carried so far.
  int count() const { return count_; }

 private:
  static sockaddr_in address(const std::string& host, std::uint16_t port) {
    sockaddr_in result{};
    result.sin_family = AF_INET;
    result.sin_port = htons(port);
    REQUIRE(::inet_pton(AF_INET, host.c_str(), &result.sin_addr) == 1);
    return result;
  }

  void carry() {
    using pair = std::array<int, 2>;
    std::vector<pair> pairs;
    const auto drop = [&](const pair& each) {
      ::close(each[0]);
      ::close(each[1]);
    };
    const int on = 1;
    while (!ending_) {
      if (tear_.exchange(false)) {
        for (const auto& each : pairs)
          drop(each);
        pairs.clear();
      }
      std::vector<pollfd> watched{{listening_, POLLIN, 0}};
      for (const auto& each : pairs)
        for (const int end : each)
          watched.push_back({end, POLLIN, 0});
      ::poll(watched.data(), watched.size(), 10);
      for (std::size_t i = pairs.size(); i-- > 0;)
        if (!pass(watched[1 + 2 * i], pairs[i][1]) || !pass(watched[2 + 2 * i], pairs[i][0])) {
          drop(pairs[i]);
          pairs.erase(pairs.begin() + static_cast<std::ptrdiff_t>(i));
        }
      if (watched[0].revents != 0) {
        const int near = ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
        const int far = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        for (const int end : {near, far})  // or a small message waits for the other side's word on the one before
          ::setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (::connect(far, reinterpret_cast<const sockaddr*>(&to_), sizeof to_) == 0) {
          pairs.push_back({near, far});
          ++count_;
        } else {
          drop({near, far});
        }
      }
    }
    for (const auto& each : pairs)
      drop(each);
  }

  /// What can be read, to the other end; false: the connection is over.
  static bool pass(const pollfd& from, int to) {
    if (from.revents == 0)
      return true;
    std::array<char, 65'536> buffer;
    const auto got = ::recv(from.fd, buffer.data(), buffer.size(), 0);
    for (ssize_t sent = 0; sent < got;) {
      const auto now = ::send(to, buffer.data() + sent, static_cast<std::size_t>(got - sent), MSG_NOSIGNAL);
      if (now <= 0)
        return false;
      sent += now;
    }
    return got > 0;
  }

  sockaddr_in to_;
  int listening_;
  std::atomic<bool> ending_ = false;
  std::atomic<bool> tear_ = false;
  std::atomic<int> count_ = 0;
  std::thread thread_;
};

}  // namespace troupe
