#include "runtime/transport/tcp_network.hpp"

#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "runtime/error.hpp"
#include "runtime/transport/tcp_loop.hpp"

namespace troupe {

namespace {

constexpr int backlog = 1024;  // connections the system accepts ahead; it may grant less

std::string endpoint_of(const tcp_options& options, const descriptor& listener) {
  const auto bound = to_string(local_address(listener));
  const auto port = bound.substr(bound.rfind(':') + 1);
  if (!options.advertised_host.empty())
    return options.advertised_host + ":" + port;
  if (options.bind_address != "0.0.0.0" && options.bind_address != "::")
    return bound;
  char name[HOST_NAME_MAX + 1] = {};
  ::gethostname(name, HOST_NAME_MAX);
  return std::string(name) + ":" + port;
}

class tcp_network final : public network {
 public:
  explicit tcp_network(tcp_options options)
      : options_(std::move(options)),
        listener_(make_listener(options_.bind_address, options_.port)),
        endpoint_(endpoint_of(options_, listener_)),
        loop_(options_, links_, poller_) {
    if (options_.build.size() > build_bytes_max)
      throw std::length_error(fmt::format("a build's name has {} bytes, more than {}", options_.build.size(),
                                          build_bytes_max));
  }

  ~tcp_network() override {
    loop_.stop();
    if (thread_.joinable())
      thread_.join();
    // Whoever the loop's end has let go is still on the way out.
    const std::unique_lock alone(calls_);
  }

  void start(network_events events) override {
    if (::listen(listener_.get(), backlog) != 0)
      throw system_error(fmt::format("cannot listen at {}: {}", endpoint_, std::strerror(errno)));
    thread_ = std::thread([this, told = std::move(events)]() mutable { loop_.run(listener_, std::move(told)); });
  }

  std::string endpoint() const override { return endpoint_; }

  void dial(const std::string& endpoint, std::string introduction, std::function<void(dial_result)> done) override {
    loop_.post([this, endpoint, introduction = std::move(introduction), done = std::move(done)]() mutable {
      loop_.dial(endpoint, std::move(introduction), std::move(done));
    });
  }

  void send(link_id link, parcel message) override {
    const std::shared_lock here(calls_);
    const auto out = links_.find(link);
    if (!out)
      return;
    auto head = encode_head(message, options_.limits);
    outgoing frame(std::move(head), std::move(message.tensors));
    // The network's own thread would wait for itself.
    const bool may_block = !frame.tensors.empty() && !loop_.is_mine();
    out->send(std::move(frame), may_block);
  }

  void watch_peers(const failure_detection& how) override { loop_.watch_peers(how); }

  void close(link_id link) override {
    const std::shared_lock here(calls_);
    const auto out = links_.remove(link);
    if (!out)
      return;
    out->stop_taking();
    loop_.post([this, link] { loop_.finish(link); });
  }

 private:
  const tcp_options options_;
  poller poller_;
  const descriptor listener_;
  const std::string endpoint_;
  link_table links_;
  std::shared_mutex calls_;  ///< shared by all that are in progress
  tcp_loop loop_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<network> make_tcp_network(tcp_options options) {
  return std::make_unique<tcp_network>(std::move(options));
}

}  // namespace troupe
