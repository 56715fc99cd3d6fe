#include <cstring>
#include <future>
#include <stdexcept>

#include "runtime/transport/tcp_network.hpp"
#include "tests/bench/transport/contestant.hpp"

namespace troupe::bench {

namespace {

class troupe_contestant final : public contestant {
 public:
  std::string listen() override {
    start();
    return network_->endpoint();
  }

  void connect(const std::string& where) override {
    start();
    std::promise<dial_result> result;
    network_->dial(where, "bench", [&](dial_result r) {
      link_ = r.link;
      result.set_value(std::move(r));
    });
    if (const auto r = result.get_future().get(); r.link == 0)
      throw std::runtime_error(r.text);
  }

  void send(control message) override {
    parcel out{{1, "bench/1", 1}, {0, "bench/0", 1}, "control", {}, {}};
    out.body.resize(sizeof(message));
    std::memcpy(out.body.data(), &message, sizeof(message));
    network_->send(link_, std::move(out));
  }

  void send_bulk() override {
    network_->send(link_, {{1, "bench/1", 1}, {0, "bench/0", 1}, "bulk", {}, {sources_[next_++ % sources_.size()]}});
  }

 private:
  void start() {
    network_->start({[this](link_id link, const std::string&) {
                       link_ = link;
                       return introduction_reply{true, {}, false};
                     },
                     [this](link_id, parcel message) {
                       if (!message.tensors.empty())
                         return on_bulk();
                       control out;
                       std::memcpy(&out, message.body.data(), sizeof(out));
                       on_control(out);
                     },
                     [](link_id, const std::string&) {}});
  }

  const std::vector<tensor> sources_ = make_sources();
  std::size_t next_ = 0;
  link_id link_ = 0;
  std::unique_ptr<network> network_ = make_tcp_network({.window_bytes = 64 << 20});
};

}  // namespace

std::unique_ptr<contestant> make_troupe() { return std::make_unique<troupe_contestant>(); }

}  // namespace troupe::bench
