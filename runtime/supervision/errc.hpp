#pragma once

/// The errors between actors and how they read. An error's context is text that reads from the root cause on.

#include <cstdint>
#include <exception>
#include <string>

#include <caf/all.hpp>

namespace troupe {

/// Errors between actors. A code stands here only because some caller reacts to it.
enum class errc : std::uint8_t {
  escalated = 1,   ///< a supervisor gave up; its own supervisor restarts or escalates
  unknown_name,    ///< the directory never heard the name; the asker reports a wiring fault
  timed_out,       ///< a bounded retry ran out; the asker fails upward
  bad_input,       ///< restarting cannot help: the job stops and shows the message
  hopeless,        ///< nor here: it was tried often enough, or there is no time left
  system_failure,  ///< no memory, or a file that cannot be written: tells such an end from others
  device_lost,     ///< a GPU is of no use to this process any more: a node that has others to take over leaves
  killed_by_chaos, ///< fault injection
  node_lost,       ///< its node is gone, or none is there to host it; a supervisor does not hold it against the actor
  moved,           ///< told to end here and start elsewhere; nor this
  head_lost,       ///< the node has no head any more; who holds what a successor may want leaves it behind
};

/// An error whose context is `message`. Contexts read from the root cause on.
caf::error make_error(errc code, std::string message);

/// "code: message"; for an error of CAF's, its code and context; "normal" for none.
std::string describe(const caf::error& reason);

/// The message alone, or the code where there is none: what a longer sentence begins with.
std::string root_cause(const caf::error& reason);

/// Whether `reason` carries this code.
bool is(const caf::error& reason, errc code);

/// The error that an exception becomes when it leaves a handler or a factory: input_error turns into errc::bad_input,
/// device_lost into errc::device_lost, system_error, filesystem_error and bad_alloc into errc::system_failure, anything
/// else into caf::sec::runtime_error; the context is what().
caf::error to_error(const std::exception_ptr& thrown);

/// Whether its cause is one that a restart meets again: errc::bad_input or errc::hopeless.
bool is_final(const caf::error& reason);

/// Makes `self` end with `to_error` of an exception that leaves one of its handlers; by default CAF prints what() and
/// loses it. Call it first thing in the function that returns the behavior.
void keep_exceptions(caf::scheduled_actor* self);

}  // namespace troupe
