#include "runtime/transport/socket.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include <fmt/format.h>

#include "runtime/error.hpp"

namespace troupe {

namespace {

/// Within a machine nothing is under way: a buffer only has to keep both ends busy, and what fits in a processor's
/// cache is written and read from there. Measured with messages of 4 MB, this moves twice as much as 4 MiB do. Across
/// machines the system finds the size itself, which a size set here would forbid.
constexpr int local_buffer_bytes = 256 << 10;
constexpr std::size_t events_max = 64;
constexpr std::uint64_t wake_key = 0;

void set(const descriptor& socket, int level, int option, int value) noexcept {
  // A socket that cannot be tuned is slower, no worse.
  ::setsockopt(socket.get(), level, option, &value, sizeof(value));
}

bool is_within_machine(const descriptor& socket) noexcept {
  socket_address here, there;
  here.size = there.size = sizeof(here.storage);
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&here.storage), &here.size) != 0 ||
      ::getpeername(socket.get(), reinterpret_cast<sockaddr*>(&there.storage), &there.size) != 0 ||
      here.storage.ss_family != there.storage.ss_family)
    return false;
  if (here.storage.ss_family == AF_INET)
    return reinterpret_cast<const sockaddr_in&>(here.storage).sin_addr.s_addr ==
           reinterpret_cast<const sockaddr_in&>(there.storage).sin_addr.s_addr;
  return std::memcmp(&reinterpret_cast<const sockaddr_in6&>(here.storage).sin6_addr,
                     &reinterpret_cast<const sockaddr_in6&>(there.storage).sin6_addr, sizeof(in6_addr)) == 0;
}

[[noreturn]] void fail(const std::string& what) {
  throw system_error(fmt::format("{}: {}", what, std::strerror(errno)));
}

}  // namespace

descriptor::~descriptor() {
  if (value_ >= 0)
    ::close(value_);
}

std::size_t descriptor_limit() noexcept {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

void raise_descriptor_limit() noexcept {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string to_string(const socket_address& address) {
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (::getnameinfo(address.get(), address.size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return "an unknown address";
  return fmt::format(fmt::runtime(address.storage.ss_family == AF_INET6 ? "[{}]:{}" : "{}:{}"), host, port);
}

host_and_port parse_endpoint(const std::string& endpoint) {
  const auto colon = endpoint.rfind(':');
  auto host = endpoint.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']'))
    host = host.substr(1, host.size() - 2);
  const auto port = colon == std::string::npos ? "" : endpoint.substr(colon + 1);
  const bool is_number = !port.empty() && port.size() <= 5 && std::ranges::all_of(port, [](char c) {
    return c >= '0' && c <= '9';
  });
  if (host.empty() || !is_number || std::stoi(port) == 0 || std::stoi(port) > 65535)
    throw input_error(fmt::format("'{}' is no endpoint; expected HOST:PORT, such as 10.0.0.7:4000", endpoint));
  return {host, port};
}

std::vector<socket_address> resolve(const host_and_port& where, bool numeric) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (numeric ? AI_NUMERICHOST : AI_ADDRCONFIG);
  addrinfo* found = nullptr;
  const auto error = ::getaddrinfo(where.host.c_str(), where.port.c_str(), &hints, &found);
  if (error != 0) {
    if (numeric)
      return {};
    throw system_error(fmt::format("host '{}' has no address: {}; check its name, or give its address", where.host,
                                   ::gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  std::vector<socket_address> out;
  for (const auto* each = found; each != nullptr; each = each->ai_next) {
    auto& address = out.emplace_back();
    std::memcpy(&address.storage, each->ai_addr, each->ai_addrlen);
    address.size = each->ai_addrlen;
  }
  return out;
}

descriptor make_listener(const std::string& host, std::uint16_t port) {
  const auto addresses = resolve({host, std::to_string(port)}, false);
  const auto& address = addresses.front();
  descriptor out(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!out)
    fail("cannot open a socket");
  // A node that is started again takes the port over from its predecessor's last connections.
  set(out, SOL_SOCKET, SO_REUSEADDR, 1);
  if (::bind(out.get(), address.get(), address.size) != 0)
    fail(fmt::format("cannot bind to {}", to_string(address)));
  return out;
}

socket_address local_address(const descriptor& socket) {
  socket_address out;
  out.size = sizeof(out.storage);
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&out.storage), &out.size) != 0)
    fail("a socket has no address");
  return out;
}

descriptor begin_connect(const socket_address& to) noexcept {
  descriptor out(::socket(to.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!out)
    return out;
  if (::connect(out.get(), to.get(), to.size) != 0 && errno != EINPROGRESS) {
    const auto reason = errno;
    out = descriptor();
    errno = reason;
  }
  return out;
}

void tune(const descriptor& socket) noexcept {
  set(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  if (is_within_machine(socket))
    set(socket, SOL_SOCKET, SO_SNDBUF, local_buffer_bytes);
}

poller::poller()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)), events_(events_max) {
  if (!epoll_ || !wake_)
    fail("cannot wait for sockets");
  if (!add(wake_, wake_key, false))
    fail("cannot wait for sockets");
}

bool poller::add(const descriptor& socket, std::uint64_t key, bool output) noexcept {
  epoll_event event{};
  event.events = EPOLLIN | (output ? EPOLLOUT : 0u);
  event.data.u64 = key;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket.get(), &event) == 0;
}

void poller::watch_output(const descriptor& socket, std::uint64_t key, bool output) noexcept {
  epoll_event event{};
  event.events = EPOLLIN | (output ? EPOLLOUT : 0u);
  event.data.u64 = key;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, socket.get(), &event);
}

void poller::remove(const descriptor& socket) noexcept {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket.get(), nullptr);
}

std::span<const epoll_event> poller::wait(std::chrono::milliseconds at_most) {
  const auto count = ::epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_.size()),
                                  static_cast<int>(at_most.count()));
  if (count < 0 && errno != EINTR)
    fail("cannot wait for sockets");
  const auto end = std::remove_if(events_.begin(), events_.begin() + std::max(count, 0), [&](const epoll_event& each) {
    if (each.data.u64 != wake_key)
      return false;
    std::uint64_t times = 0;
    [[maybe_unused]] const auto ignored = ::read(wake_.get(), &times, sizeof(times));
    return true;
  });
  return {events_.begin(), end};
}

void poller::wake() noexcept {
  const std::uint64_t once = 1;
  // Fails only where the counter is full, and then a wake-up is on its way.
  [[maybe_unused]] const auto ignored = ::write(wake_.get(), &once, sizeof(once));
}

}  // namespace troupe
