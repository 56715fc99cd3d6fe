#pragma once

/// A supervisor on the simulator, and what it does in a few words.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/supervision/supervisor.hpp"
#include "tests/simulation/event_log.hpp"
#include "tests/simulation/simulator.hpp"

namespace troupe {

struct supervised {
  simulator sim{1, {.slowness = 0}};
  directory_actor names = spawn_directory(sim.system());
  std::shared_ptr<event_log> log = std::make_shared<event_log>();
  caf::actor listener = spawn_log(sim.system(), log);
  supervisor_actor root;
  caf::error end;  ///< of root
  bool ended = false;
  caf::actor undertaker;

  void supervise(const supervisor_options& options, std::vector<child_spec> children) {
    root = spawn_supervisor(sim.system(), options, names, std::move(children), listener);
    undertaker = sim.system().spawn([this](caf::event_based_actor* self) -> caf::behavior {
      self->set_down_handler([this](caf::down_msg& down) {
        end = down.reason;
        ended = true;
      });
      self->monitor(root);
      return {[](bool) {}};
    });
    sim.run_for(std::chrono::milliseconds{1});
  }

  void settle(std::chrono::milliseconds time = std::chrono::milliseconds{100}) {
    sim.run_for(time);
  }

  directory_entry entry(const std::string& name) {
    return sim.ask<directory_entry>(names, resolve_name{name});
  }

  template <class Message>
  void tell(const std::string& name, Message message) {
    caf::anon_send(entry(name).handle, std::move(message));
    settle();
  }

  void fail(const std::string& name, const std::string& why = "disk full") {
    tell(name, why);
  }

  /// What was logged since the last call.
  std::string log_from_here() {
    settle(std::chrono::milliseconds{1});
    auto text = in_short(*log);
    log->clear();
    return text;
  }

  /// Why a message that is answered with an actor is refused; nothing where it is not.
  template <class Message>
  caf::error refusal(Message message) {
    return error_of(std::move(message), [](const caf::actor&) {});
  }

  /// The same for a message that is answered without content.
  template <class Message>
  caf::error outcome_of(Message message) {
    return error_of(std::move(message), [] {});
  }

 private:
  template <class Message, class Answer>
  caf::error error_of(Message message, Answer on_answer) {
    caf::scoped_actor self{sim.system()};
    auto response = self->request(root, caf::infinite, std::move(message));
    sim.run_until([&] { return self->has_next_message(); });
    caf::error result;
    response.receive(on_answer, [&](caf::error& reason) { result = reason; });
    return result;
  }
};

inline supervisor_options with(restart_strategy strategy) {
  supervisor_options options;
  options.name = "shards";
  options.strategy = strategy;
  return options;
}

}  // namespace troupe
