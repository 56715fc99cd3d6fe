#pragma once

#include <cstdint>
#include <string>

#include <caf/all.hpp>

namespace troupe {

/// Errors between actors. A code stands here only because some caller reacts to it.
enum class errc : std::uint8_t {
  escalated = 1,   ///< a supervisor gave up; its own supervisor restarts or escalates
  unknown_name,    ///< the directory never heard the name; the asker reports a wiring fault
  timed_out,       ///< a bounded retry ran out; the asker fails upward
  stale_epoch,     ///< the message belongs to a job epoch before a rollback; the sender starts over
  too_late,        ///< the shard has passed the version asked for; the asker names a later one
  bad_input,       ///< restarting cannot help: the job stops and shows the message
  killed_by_chaos, ///< fault injection
};

/// An error whose context is `message`. Contexts read from the root cause on.
caf::error make_error(errc code, std::string message);
/// "code: message".
std::string describe(const caf::error& reason);
/// Whether `reason` carries this code.
bool is(const caf::error& reason, errc code);

}  // namespace troupe
