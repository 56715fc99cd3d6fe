#pragma once

/// Supervisors restart what fails. The model is Erlang/OTP's (Armstrong 2003, "Making reliable distributed systems
/// in the presence of software errors"): a supervisor starts its children from specifications, monitors them, and
/// restarts by strategy; past its intensity it stops its children and fails itself, root cause first, so that its
/// own supervisor decides. A supervisor is an actor and may be the child of another.

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <caf/all.hpp>

#include "runtime/supervision/directory.hpp"

namespace troupe {

/// When a child that ended is started again.
enum class restart_kind : std::uint8_t {
  permanent,  ///< always
  transient,  ///< after a failure; not after a normal end
  temporary,  ///< never
};

/// Whom the end of one child concerns.
enum class restart_strategy : std::uint8_t {
  one_for_one,   ///< that child
  one_for_all,   ///< all children: stopped in reverse order, started in order
  rest_for_one,  ///< that child and those started after it
};

/// What a child is started with.
struct child_context {
  std::string name;               ///< logical name, such as "shard/3"
  std::uint64_t incarnation = 1;  ///< 1 at first, one more for each restart
  directory_actor names;
};

struct child_spec {
  std::string name;
  /// Spawns the child. Called on the supervisor's thread; a throw counts as a failed start.
  std::function<caf::actor(caf::actor_system&, const child_context&)> start;
  restart_kind restart = restart_kind::permanent;
};

struct supervisor_options {
  std::string name = "supervisor";  ///< logical name, for events and escalation
  restart_strategy strategy = restart_strategy::one_for_one;
  std::uint32_t intensity = 5;  ///< restarts within `window` before it fails upward
  std::chrono::milliseconds window{60'000};
  std::chrono::milliseconds backoff_first{0};  ///< before the first restart within the window; then doubled
  std::chrono::milliseconds backoff_max{10'000};
  double jitter = 0.2;           ///< of the back-off, either way
  std::uint64_t jitter_seed = 0;
};

/// Told to the listener, in order.
struct child_event {
  enum class kind : std::uint8_t { started, ended, restarting, stopped, escalated };
  kind what = kind::started;
  std::string supervisor;
  std::string child;
  std::uint64_t incarnation = 0;
  caf::actor handle;             ///< started: the child
  caf::error reason;             ///< ended, restarting, escalated: why
  std::string explanation;       ///< one line for people, root cause first
  std::chrono::milliseconds delay{0};  ///< restarting: the back-off
};

// -- protocol ------------------------------------------------------------------

/// Adds and starts a child after those there are; replies with its handle, or an error where the name is taken.
struct start_child { child_spec spec; };
/// Stops a child and forgets it.
struct stop_child { std::string name; };
/// Stops all children in reverse order, then ends normally.
struct shut_down {};
struct list_children {};
struct child_status {
  std::string name;
  std::uint64_t incarnation = 0;
  caf::actor handle;  ///< empty while it waits to be restarted
};
struct child_list { std::vector<child_status> children; };

using supervisor_actor = caf::typed_actor<caf::replies_to<start_child>::with<caf::actor>,
                                          caf::replies_to<stop_child>::with<caf::unit_t>,
                                          caf::replies_to<shut_down>::with<caf::unit_t>,
                                          caf::replies_to<list_children>::with<child_list>>;

/// Starts `children` in order before it handles any message. Each start is published in `names`, each end withdrawn.
/// `listener` (optional) receives every child_event. The supervisor links to nobody: monitor it. It fails with
/// `errc::escalated`, whose context names the child and its reason.
supervisor_actor spawn_supervisor(caf::actor_system& system, const supervisor_options& options,
                                  directory_actor names, std::vector<child_spec> children, caf::actor listener = {});

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::child_event)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::start_child)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::stop_child)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::shut_down)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::list_children)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::child_list)
