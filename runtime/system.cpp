#include "runtime/system.hpp"

#include <algorithm>
#include <thread>

#include <caf/scheduler/abstract_coordinator.hpp>

namespace troupe {

system_config::system_config(std::size_t threads) {
  if (threads == 0)
    threads = std::clamp<std::size_t>(std::thread::hardware_concurrency(), 2, 8);
  set("scheduler.policy", caf::atom("sharing"));
  set("scheduler.max-threads", threads);
  set("logger.verbosity", caf::atom("quiet"));
}

bounded_system::bounded_system(std::chrono::milliseconds patience)
    : patience_(patience), world_(std::make_unique<world>()) {}

bounded_system::~bounded_system() {
  if (!wind_down())
    static_cast<void>(world_.release());
}

bool bounded_system::wind_down() const {
  constexpr std::chrono::milliseconds poll{2};  // CAF can wait for this, but for ever only
  const auto until = std::chrono::steady_clock::now() + patience_;
  while (world_->system.registry().running() > 0) {
    if (std::chrono::steady_clock::now() >= until)
      return false;
    std::this_thread::sleep_for(poll);
  }
  return true;
}

bool is_simulated(caf::actor_system& system) {
  return !system.scheduler().detaches_utility_actors();
}

void send_exit(const caf::actor& whom, caf::error reason) {
  if (whom)
    whom->enqueue(nullptr, caf::make_message_id(caf::message_priority::high),
                  caf::make_message(caf::exit_msg{whom->address(), std::move(reason)}), nullptr);
}

}  // namespace troupe
