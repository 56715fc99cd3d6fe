#pragma once

/// What the tests of the transport share: parcels made from seeds, a node that records what it is told, a bare socket.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <future>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "runtime/transport/tcp_network.hpp"
#include "tests/runtime/transport/test_authority.hpp"

namespace troupe {

/// How long a test waits for what must happen.
inline constexpr auto patience = std::chrono::seconds{60};

inline constexpr dtype all_types[] = {dtype::float32, dtype::float64, dtype::bfloat16, dtype::float16,
                                      dtype::int64,   dtype::int32,   dtype::uint16,   dtype::uint8};

/// Of any type, rank and size, absent and without elements included.
inline tensor random_tensor(std::mt19937_64& random, std::int64_t extent_max) {
  if (random() % 8 == 0)
    return {};
  std::vector<std::int64_t> extents(random() % (shape::rank_max + 1));
  for (std::size_t i = 0; i < extents.size(); ++i)
    extents[i] = static_cast<std::int64_t>(random()) & (i == 0 ? extent_max : 3);
  auto out = make_host_tensor(all_types[random() % std::size(all_types)], shape(extents));
  // A pattern with a long period: shifted and repeated blocks are noticed.
  const auto start = random();
  for (std::size_t i = 0; i < out.size_bytes(); ++i)
    out.mutable_bytes()[i] = static_cast<std::byte>(start + i + i / 251 + i / 65'521);
  return out;
}

inline std::string random_text(std::mt19937_64& random, std::size_t size_max) {
  std::string out(random() % (size_max + 1), ' ');
  for (auto& c : out)
    c = static_cast<char>(random());
  return out;
}

/// A function of its arguments, so that a receiver knows what was sent.
inline parcel make_parcel(std::uint64_t seed, std::int64_t extent_max = 0x3fff) {
  std::mt19937_64 random(seed * 0x9e3779b97f4a7c15 + 1);
  parcel out;
  out.to = {static_cast<node_id>(random()), random_text(random, 20), random()};
  if (random() % 2 == 0)
    out.from = {static_cast<node_id>(random()), "x" + random_text(random, 20), random()};
  out.type = random_text(random, 30);
  const auto body = random_text(random, random() % 10 == 0 ? 100'000 : 100);
  const auto bytes = std::as_bytes(std::span(body));
  out.body.assign(bytes.begin(), bytes.end());
  out.tensors.resize(random() % 5);
  for (auto& each : out.tensors)
    each = random_tensor(random, extent_max);
  for (std::size_t i = 0; i < out.tensors.size(); ++i)
    if (!out.tensors[i] && random() % 2 == 0) {
      out.beside.push_back({i, {dtype::bfloat16, {1 + static_cast<std::int64_t>(random() % 9), 3}}});
      out.device_link = 1 + random() % 5;
    }
  return out;
}

inline bool same(const tensor& a, const tensor& b) {
  if (!a || !b)
    return !a && !b;
  return a.type() == b.type() && a.shape() == b.shape() && std::memcmp(a.bytes(), b.bytes(), a.size_bytes()) == 0;
}

inline bool same(const parcel& a, const parcel& b) {
  return a.to == b.to && a.from == b.from && a.type == b.type && a.body == b.body && a.device_link == b.device_link &&
         a.beside == b.beside &&
         std::ranges::equal(a.tensors, b.tensors, [](const tensor& x, const tensor& y) { return same(x, y); });
}

/// Without tensors, and told apart by its type.
inline parcel note(std::string text) {
  parcel out;
  out.to = {1, "somebody", 1};
  out.type = std::move(text);
  return out;
}

inline parcel with_floats(std::int64_t count) {
  auto out = note("floats");
  out.tensors.push_back(make_host_tensor(dtype::float32, {count}));
  std::memset(out.tensors.back().mutable_bytes(), 7, out.tensors.back().size_bytes());
  return out;
}

/// What the links of a test are: it says TEST_CASE_TEMPLATE(NAME, links, plain_links, tls_links), has one of them, and
/// runs twice.
struct plain_links {
  plain_links() { current.reset(); }

  /// For nodes whose options say nothing else.
  inline static std::optional<tls_options> current;
};
struct tls_links {
  tls_links() { plain_links::current = our_authority().node(); }
  ~tls_links() { plain_links::current.reset(); }
};

/// A network and what it was told. Accepts everybody, unless `answer` is set before the start.
class test_node {
 private:
  template <class F>
  void change(F f) {
    const std::lock_guard held(mutex_);
    f();
    changed_.notify_all();
  }

  /// Under the lock, once `happened`.
  template <class Happened, class F>
  auto after(Happened happened, F f) {
    std::unique_lock held(mutex_);
    REQUIRE(changed_.wait_for(held, patience, happened));
    return f();
  }

 public:
  explicit test_node(tcp_options options = {}) {
    if (!options.tls)
      options.tls = plain_links::current;
    network_ = make_tcp_network(std::move(options));
  }

  std::function<introduction_reply(link_id, const std::string&)> answer =
      [](link_id, const std::string& text) { return introduction_reply{true, "hello " + text, false}; };
  /// Called in place of recording, where it is set before the start.
  std::function<void(link_id, parcel)> on_parcel;

  test_node& start() {
    network_->start({[this](link_id link, const std::string& text) {
                       const auto reply = answer(link, text);
                       change([&] { introduced_[text] = link; });
                       return reply;
                     },
                     [this](link_id link, parcel message) {
                       if (on_parcel)
                         on_parcel(link, std::move(message));
                       else
                         change([&] { parcels_[link].push_back(std::move(message)); });
                     },
                     [this](link_id link, const std::string& evidence) { change([&] { lost_[link] = evidence; }); },
                     [this](link_id) { change([&] { ++late_; }); }});
    return *this;
  }

  network& net() { return *network_; }
  network* operator->() { return network_.get(); }
  void destroy() { network_.reset(); }

  dial_result dial(const std::string& endpoint, std::string introduction = "me") {
    auto result = std::make_shared<std::promise<dial_result>>();
    auto answer = result->get_future();
    network_->dial(endpoint, std::move(introduction), [result](dial_result r) { result->set_value(std::move(r)); });
    REQUIRE(answer.wait_for(patience) == std::future_status::ready);
    return answer.get();
  }

  /// A link to `other`, as both sides know it.
  std::pair<link_id, link_id> join(test_node& other) {
    const auto name = "caller " + std::to_string(++callers_);
    const auto dialed = dial(other->endpoint(), name);
    REQUIRE_MESSAGE(dialed.link != 0, dialed.text);
    CHECK(dialed.text == "hello " + name);
    const auto accepted = other.after([&] { return other.introduced_.contains(name); },
                                      [&] { return other.introduced_[name]; });
    return {dialed.link, accepted};
  }

  std::string wait_lost(link_id link) {
    return after([&] { return lost_.contains(link); }, [&] { return lost_[link]; });
  }
  bool was_lost(link_id link) {
    const std::lock_guard held(mutex_);
    return lost_.contains(link);
  }

  std::vector<parcel> wait_parcels(link_id link, std::size_t count) {
    return after([&] { return parcels_[link].size() >= count || lost_.contains(link); },
                 [&] {
                   REQUIRE_MESSAGE(parcels_[link].size() >= count, lost_[link]);
                   return parcels_[link];
                 });
  }
  /// The link of whoever introduced itself so.
  link_id wait_introduced(const std::string& text) {
    return after([&] { return introduced_.contains(text); }, [&] { return introduced_[text]; });
  }
  /// Until so many parcels have come over links that were lost.
  void wait_late(std::size_t count) {
    after([&] { return late_ >= count; }, [] { return 0; });
  }
  std::size_t parcel_count(link_id link) {
    const std::lock_guard held(mutex_);
    return parcels_[link].size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, link_id> introduced_;
  std::map<link_id, std::vector<parcel>> parcels_;
  std::map<link_id, std::string> lost_;
  std::size_t late_ = 0;
  inline static std::atomic<int> callers_ = 0;
  std::unique_ptr<network> network_;  // ends before what it tells
};

/// A connection by hand, blocking.
class bare_socket {
 public:
  explicit bare_socket(const std::string& endpoint) : value_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(endpoint.substr(endpoint.rfind(':') + 1))));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(value_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0);
    const timeval bound{std::chrono::seconds(patience).count(), 0};
    ::setsockopt(value_, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof(bound));
  }
  bare_socket(bare_socket&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  ~bare_socket() {
    if (value_ >= 0)
      ::close(value_);
  }

  void send(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto sent = ::send(value_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0)
        return;  // the other side has had enough
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
  }
  void send(const std::string& text) { send(std::as_bytes(std::span(text))); }

  /// What comes next; nothing where the connection has ended.
  std::vector<std::byte> receive() {
    std::vector<std::byte> out(4096);
    const auto got = ::recv(value_, out.data(), out.size(), 0);
    REQUIRE((got >= 0 || errno == ECONNRESET));
    out.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return out;
  }

  void wait_end() {
    while (!receive().empty()) {
    }
  }

  int get() const { return value_; }

 private:
  int value_;
};

/// Shakes hands as a dialer would.
template <class Bare>
void introduce(Bare& peer, const handshake_identity& me) {
  handshake shake(handshake::role::dialer, me, "by hand");
  std::vector<std::byte> input;
  while (!shake.reply()) {
    peer.send(shake.output());
    const auto more = peer.receive();
    REQUIRE(!more.empty());
    input.insert(input.end(), more.begin(), more.end());
    const auto taken = shake.take(input);
    input.erase(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(taken));
  }
}

}  // namespace troupe
