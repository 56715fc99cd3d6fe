#include "runtime/cluster/http_client.hpp"

#include <netdb.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cctype>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "runtime/error.hpp"

namespace troupe {

namespace {

using clock = std::chrono::steady_clock;

/// A connection whose every wait ends at the deadline or when it is cancelled.
class exchange {
 public:
  exchange(const sockaddr_storage& to, socklen_t to_bytes, std::chrono::milliseconds within, int cancel)
      : within_(within),
        until_(clock::now() + within),
        cancel_(cancel),
        socket_(::socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    if (socket_ < 0)
      fail("cannot make a socket", errno);
    try {
      connect(to, to_bytes);
    } catch (...) {
      ::close(socket_);
      throw;
    }
  }
  ~exchange() { ::close(socket_); }
  exchange(const exchange&) = delete;
  exchange& operator=(const exchange&) = delete;

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      wait_for(POLLOUT);
      const auto sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent > 0)
        bytes.remove_prefix(static_cast<std::size_t>(sent));
      else if (errno != EAGAIN && errno != EINTR)
        fail("cannot send", errno);
    }
  }

  /// Appends what has arrived; false at the end.
  bool receive(std::string& to) {
    char buffer[4'096];
    for (;;) {
      wait_for(POLLIN);
      const auto count = ::recv(socket_, buffer, sizeof buffer, 0);
      if (count >= 0) {
        to.append(buffer, static_cast<std::size_t>(count));
        return count > 0;
      }
      if (errno != EAGAIN && errno != EINTR)
        fail("cannot receive", errno);
    }
  }

 private:
  [[noreturn]] static void fail(std::string_view what, int error) {
    throw system_error(fmt::format("{}: {}", what, std::strerror(error)));
  }

  void connect(const sockaddr_storage& to, socklen_t to_bytes) {
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&to), to_bytes) == 0)
      return;
    if (errno != EINPROGRESS)
      fail("cannot connect", errno);
    wait_for(POLLOUT);
    int error = 0;
    socklen_t error_bytes = sizeof error;
    ::getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error, &error_bytes);
    if (error != 0)
      fail("cannot connect", error);
  }

  void wait_for(short what) {
    for (;;) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until_ - clock::now()).count();
      if (left <= 0)
        throw system_error(fmt::format("no answer within {} ms", within_.count()));
      pollfd watched[] = {{socket_, what, 0}, {cancel_, POLLIN, 0}};
      ::poll(watched, 2, static_cast<int>(std::min<std::int64_t>(left, 1'000'000)));
      if (watched[1].revents != 0)
        throw system_error("given up");
      if (watched[0].revents != 0)
        return;
    }
  }

  std::chrono::milliseconds within_;
  clock::time_point until_;
  int cancel_;
  int socket_;
};

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

[[noreturn]] void not_http(std::string_view why) {
  throw system_error(fmt::format("the answer is not HTTP as expected: {}", why));
}

[[noreturn]] void too_long() {
  throw system_error(fmt::format("the answer has more than {} bytes", http_client::response_bytes_max));
}

constexpr std::string_view blank_line = "\r\n\r\n";

template <class T>
T to_number(std::string_view text, std::string_view name) {
  while (text.starts_with(' '))
    text.remove_prefix(1);
  while (text.ends_with(' '))
    text.remove_suffix(1);
  T number{};
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || rest != text.data() + text.size())
    not_http(fmt::format("its {} is no number", name));
  return number;
}

/// Status line and headers, without the empty line.
struct head {
  int status = 0;
  std::optional<std::size_t> content_bytes;

  explicit head(std::string_view text) {
    // "HTTP/1.1 200 OK"
    if (!text.starts_with("HTTP/1.") || text.size() < 12 || text[8] != ' ')
      not_http("it does not begin with a status line");
    status = to_number<int>(text.substr(9, 3), "status");
    for (auto at = text.find("\r\n"); at != std::string_view::npos; at = text.find("\r\n", at + 2)) {
      const auto line = text.substr(at + 2, text.find("\r\n", at + 2) - at - 2);
      const auto colon = line.find(':');
      if (colon == std::string_view::npos)
        not_http("a header has no colon");
      const auto name = line.substr(0, colon);
      if (same_name(name, "content-length"))
        content_bytes = to_number<std::size_t>(line.substr(colon + 1), "length");
      else if (same_name(name, "transfer-encoding"))
        not_http("it comes in chunks");
    }
  }
};

}  // namespace

http_client::http_client(const std::string& url) : url_(url) {
  const auto refuse = [&](std::string_view why) {
    return input_error(fmt::format("'{}': {}; expected a URL such as http://169.254.169.254", url, why));
  };
  constexpr std::string_view scheme = "http://";
  if (!url.starts_with(scheme))
    throw refuse("this is no plain HTTP");
  if (std::any_of(url.begin(), url.end(), [](char c) { return c <= ' ' || c > '~'; }))
    throw refuse("a strange character is in it");
  const auto slash = std::min(url.find('/', scheme.size()), url.size());
  authority_ = url.substr(scheme.size(), slash - scheme.size());
  path_ = url.substr(slash);
  if (path_.ends_with('/'))
    path_.pop_back();

  auto host = authority_;
  std::uint16_t port = 80;
  if (const auto colon = host.rfind(':'); colon != std::string::npos && host.find(']', colon) == std::string::npos) {
    const char* end = host.data() + host.size();
    const auto [rest, error] = std::from_chars(host.data() + colon + 1, end, port);
    if (error != std::errc{} || rest != end || port == 0)
      throw refuse("its port is no number from 1 to 65535");
    host.resize(colon);
  }
  if (host.starts_with('[') && host.ends_with(']'))
    host = host.substr(1, host.size() - 2);
  if (host.empty())
    throw refuse("no host is in it");
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found); error != 0)
    throw refuse(gai_strerror(error));
  std::memcpy(&address_, found->ai_addr, found->ai_addrlen);
  address_bytes_ = found->ai_addrlen;
  freeaddrinfo(found);
}

http_response http_client::call(const http_request& request, std::chrono::milliseconds within, int cancel) const try {
  auto text = fmt::format("{} {}{} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", request.method, path_, request.path,
                          authority_);
  for (const auto& [name, value] : request.headers)
    text += fmt::format("{}: {}\r\n", name, value);
  if (request.method != "GET")
    text += "Content-Length: 0\r\n";
  exchange with(address_, address_bytes_, within, cancel);
  with.send(text + "\r\n");

  std::string received;
  const auto receive_more = [&] {
    const bool more = with.receive(received);
    if (received.size() > response_bytes_max)
      too_long();
    return more;
  };
  auto end = received.find(blank_line);
  for (; end == std::string::npos; end = received.find(blank_line))
    if (!receive_more())
      not_http("it ends too early");
  const head about(std::string_view(received).substr(0, end));
  received.erase(0, end + blank_line.size());
  if (!about.content_bytes) {
    while (receive_more()) {
      // nop
    }
    return {about.status, received};
  }
  if (*about.content_bytes > response_bytes_max)
    too_long();
  while (received.size() < *about.content_bytes)
    if (!receive_more())
      not_http("it ends too early");
  received.resize(*about.content_bytes);
  return {about.status, received};
} catch (const system_error& fault) {
  throw system_error(fmt::format("{}{}: {}", url_, request.path, fault.what()));
}

}  // namespace troupe
