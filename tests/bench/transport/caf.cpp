#include <future>
#include <stdexcept>

#include <caf/all.hpp>
#include <caf/io/all.hpp>

#include "runtime/system.hpp"
#include "tests/bench/transport/contestant.hpp"

namespace troupe::bench {

namespace {

struct config : system_config {
  config() : system_config(2) {
    load<caf::io::middleman>();
    set("middleman.workers", 0);
  }
};

class caf_contestant final : public contestant {
 public:
  ~caf_contestant() override { caf::anon_send_exit(self_, caf::exit_reason::kill); }

  std::string listen() override {
    spawn();
    const auto port = system_.middleman().publish(self_, 0, "127.0.0.1");
    if (!port)
      throw std::runtime_error("CAF cannot listen");
    return std::to_string(*port);
  }

  void connect(const std::string& where) override {
    spawn();
    const auto other = system_.middleman().remote_actor("127.0.0.1", static_cast<std::uint16_t>(std::stoi(where)));
    if (!other)
      throw std::runtime_error("CAF cannot connect");
    peer_ = *other;
    // The listening side knows this one by its first message.
    caf::anon_send(peer_, self_);
  }

  void send(control message) override { caf::anon_send(peer_, message.what, message.number); }
  void send_bulk() override { caf::anon_send(peer_, sources_[next_++ % sources_.size()]); }

 private:
  void spawn() {
    for (int i = 0; i < 16; ++i)
      sources_.push_back(caf::make_message(std::vector<char>(bulk_bytes, static_cast<char>(i))));
    self_ = system_.spawn([this](caf::event_based_actor*) -> caf::behavior {
      return {[this](const caf::actor& other) { peer_ = other; },
              [this](std::uint64_t what, std::uint64_t number) { on_control({what, number}); },
              [this](const std::vector<char>&) { on_bulk(); }};
    });
  }

  config config_;
  caf::actor_system system_{config_};
  caf::actor self_, peer_;
  std::vector<caf::message> sources_;  // serialised anew for each send, as any message is
  std::size_t next_ = 0;
};

}  // namespace

std::unique_ptr<contestant> make_caf() { return std::make_unique<caf_contestant>(); }

}  // namespace troupe::bench
