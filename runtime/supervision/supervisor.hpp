#pragma once

/// Supervisors restart what fails. The model is Erlang/OTP's (Armstrong 2003, "Making reliable distributed systems
/// in the presence of software errors"): a supervisor starts its children from specifications, monitors them, and
/// restarts by strategy; past its intensity it stops its children and fails itself, root cause first, so that its
/// own supervisor decides. A supervisor is an actor and may be the child of another.
///
/// What differs from OTP: nothing blocks, so children may fail while others are being stopped or wait for their
/// back-off, and are then taken into the same restart; restarts wait (back-off); a failed start is a failure like any
/// other, the first start's too; a failure with errc::bad_input or errc::hopeless escalates at once, since a restart would meet the
/// same; a transient child that ended normally stays so when its siblings are restarted.

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
  /// Spawns the child. Called on the supervisor's thread; a throw counts as a failed start. An empty handle says that
  /// there is no place for it now: it is tried again after `supervisor_options::retry_start`, which counts as nothing.
  std::function<caf::actor(caf::actor_system&, const child_context&)> start;
  restart_kind restart = restart_kind::permanent;
  /// How long the child may take to end when told to, before it is killed. Give a supervisor the sum of what its
  /// children may take.
  std::chrono::milliseconds stop_within{5'000};
};

struct supervisor_options {
  std::string name = "supervisor";  ///< logical name, for events and escalation
  restart_strategy strategy = restart_strategy::one_for_one;
  /// Restarts within `window` before it fails upward. A child that ended with errc::node_lost or errc::moved did not
  /// fail: its restart does not count and does not wait.
  std::uint32_t intensity = 5;
  std::chrono::milliseconds window{60'000};
  std::chrono::milliseconds backoff_first{0};  ///< before the first restart within the window; then doubled
  std::chrono::milliseconds backoff_max{10'000};
  double jitter = 0.2;           ///< of the back-off, either way
  std::uint64_t jitter_seed = 0;
  /// How long a killed child may take to end before it is given up: it is wedged inside a handler, which nobody can
  /// interrupt. Its successor starts without it.
  std::chrono::milliseconds kill_within{1'000};
  std::chrono::milliseconds retry_start{50};  ///< where a factory has no place for its child
};

/// Told to the listener, in order.
struct child_event {
  enum class kind : std::uint8_t {
    started,
    ended,       ///< by itself: a failure, or a normal end; or it could not be started
    restarting,  ///< it, and whom its end concerns, will be started again; one event counts toward the intensity
    stopped,     ///< told to, by shut_down, by stop_child, or because a sibling failed
    abandoned,   ///< did not end even when killed
    escalated,   ///< the supervisor gave up because of this child
  };
  kind what = kind::started;
  std::string supervisor;
  std::string child;
  std::uint64_t incarnation = 0;
  caf::actor handle;             ///< started: the child
  caf::error reason;             ///< ended, restarting: why; escalated: what the supervisor ends with
  std::string explanation;       ///< one line for people, root cause first
  std::chrono::milliseconds delay{0};  ///< restarting: the back-off
  caf::actor_clock::time_point at{};   ///< when it happened, by the actor clock
  std::string where{};                 ///< "node 2": where the child lived; not the supervisor's to know, so empty at first
};

// -- protocol ------------------------------------------------------------------

/// Adds and starts a child after those there are; replies with its handle, or an error where the name is taken.
struct start_child { child_spec spec; };
/// Stops a child and forgets it; replies, without content, once it is gone. errc::unknown_name where there is none.
struct stop_child { std::string name; };
/// Stops all children in reverse order, then replies, without content, and ends normally.
struct shut_down {};
struct list_children {};
struct child_status {
  std::string name;
  std::uint64_t incarnation = 0;
  caf::actor handle;  ///< empty while it waits to be restarted
};
struct child_list {
  std::vector<child_status> children;  ///< in the order of their starts
  std::uint64_t restarts = 0;          ///< so far
  std::uint64_t abandoned = 0;         ///< children given up so far
};

using supervisor_actor = caf::typed_actor<caf::replies_to<start_child>::with<caf::actor>,
                                          caf::reacts_to<stop_child>, caf::reacts_to<shut_down>,
                                          caf::replies_to<list_children>::with<child_list>>;

/// Starts `children` in order, before any that start_child adds and before it answers list_children. Each start is
/// published in `names`, each end withdrawn; incarnations go on from those `names` knows, so that they rise even when
/// the supervisor itself is restarted.
/// `listener` (optional) receives every child_event.
///
/// How it ends, and its children with it:
/// - gave up: stops the children in reverse order, then fails with errc::escalated (errc::bad_input or errc::hopeless
///   where that was the reason) and the root cause first: "shard/3: disk full; after 5 restarts in 60 s supervisor 'shards' gave up";
/// - shut_down, or an exit message with caf::exit_reason::user_shutdown: stops the children in reverse order;
/// - any other exit message, or nobody holds its handle any more: ends at once and kills the children.
///
/// It links to nobody: monitor it. Throws std::invalid_argument where two children share a name or `names` is empty.
supervisor_actor spawn_supervisor(caf::actor_system& system, const supervisor_options& options,
                                  directory_actor names, std::vector<child_spec> children, caf::actor listener = {});

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::child_event)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::start_child)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::stop_child)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::shut_down)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::list_children)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::child_list)
