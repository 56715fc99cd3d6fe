#pragma once

/// The clouds' metadata services, on loopback.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <fmt/format.h>

namespace troupe {

/// Answers each connection's request with the bytes that `answer` makes of it, then hangs up. Where those are
/// `silence`, it keeps the connection and says nothing.
class fake_server {
 public:
  using answering = std::function<std::string(const std::string& request)>;
  static inline const std::string silence = "...";

  explicit fake_server(answering answer) : answer_(std::move(answer)), stop_(eventfd(0, EFD_CLOEXEC)) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(listen(listener_, 8) == 0);
    socklen_t bytes = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &bytes);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~fake_server() {
    constexpr std::uint64_t one = 1;
    [[maybe_unused]] const auto written = write(stop_, &one, sizeof one);
    thread_.join();
    for (const auto each : kept_)
      close(each);
    close(listener_);
    close(stop_);
  }

  std::string url() const { return fmt::format("http://127.0.0.1:{}", port_); }

 private:
  void serve() {
    for (;;) {
      pollfd watched[] = {{listener_, POLLIN, 0}, {stop_, POLLIN, 0}};
      poll(watched, 2, -1);
      if (watched[1].revents != 0)
        return;
      const int peer = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      std::string request;
      char buffer[1'024];
      while (request.find("\r\n\r\n") == std::string::npos) {
        const auto count = recv(peer, buffer, sizeof buffer, 0);
        if (count <= 0)
          break;
        request.append(buffer, static_cast<std::size_t>(count));
      }
      const auto response = answer_(request);
      if (response == silence) {
        kept_.push_back(peer);
        continue;
      }
      for (std::size_t sent = 0; sent < response.size();) {
        const auto count = send(peer, response.data() + sent, response.size() - sent, MSG_NOSIGNAL);
        if (count <= 0)
          break;
        sent += static_cast<std::size_t>(count);
      }
      close(peer);
    }
  }

  answering answer_;
  int stop_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::vector<int> kept_;
  std::thread thread_;
};

inline std::string http(int status, const std::string& body) {
  return fmt::format("HTTP/1.1 {} Whatever\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{}", status,
                     body.size(), body);
}

/// AWS's service: demands what IMDSv2 demands, and has a notice from the third poll on.
struct fake_aws {
  std::string action;
  int polls = 0;

  std::string operator()(const std::string& request) {
    if (request.starts_with("PUT /latest/api/token HTTP/1.1\r\n"))
      return request.find("X-aws-ec2-metadata-token-ttl-seconds: ") != std::string::npos ? http(200, "t0ken==")
                                                                                          : http(400, "");
    if (request.find("X-aws-ec2-metadata-token: t0ken==\r\n") == std::string::npos)
      return http(401, "");
    if (!request.starts_with("GET /latest/meta-data/spot/instance-action HTTP/1.1\r\n"))
      return http(200, "any other path is no notice");
    return ++polls < 3 ? http(404, "<html>not found</html>") : http(200, action);
  }
};

}  // namespace troupe
