#pragma once

/// A listener that keeps what supervisors tell it, and a child that does as it is told.

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <caf/all.hpp>

#include "runtime/supervision/errc.hpp"
#include "runtime/supervision/supervisor.hpp"
#include "runtime/system.hpp"

namespace troupe {

/// Read it only while the listener does not run: under simulation, or once its actor system is gone.
using event_log = std::vector<child_event>;

inline caf::actor spawn_log(caf::actor_system& system, std::shared_ptr<event_log> log) {
  return system.spawn([log](caf::event_based_actor*) -> caf::behavior {
    return {[log](const child_event& event) { log->push_back(event); }};
  });
}

inline std::size_t count(const event_log& log, child_event::kind what) {
  return std::count_if(log.begin(), log.end(), [&](const child_event& event) { return event.what == what; });
}

/// "started a 1, ended a 1, ...".
inline std::string in_short(const event_log& log) {
  static const char* const names[] = {"started", "ended", "restarting", "stopped", "abandoned", "escalated"};
  std::string text;
  for (const auto& event : log)
    text += std::string{text.empty() ? "" : ", "} + names[static_cast<int>(event.what)] + " " + event.child + " "
            + std::to_string(event.incarnation);
  return text;
}

/// Answers an int with the next one; fails with a std::string as its reason; ends normally on a bool.
inline caf::behavior puppet(caf::event_based_actor* self) {
  keep_exceptions(self);
  return {
    [](int x) { return x + 1; },
    [](const std::string& why) { throw std::runtime_error(why); },
    [self](bool) { self->quit(); },
  };
}

inline child_spec puppet_spec(std::string name, restart_kind restart = restart_kind::permanent) {
  return {std::move(name), [](caf::actor_system& system, const child_context&) { return system.spawn(puppet); },
          restart};
}

}  // namespace troupe
