#pragma once

/// The processes of a local cluster: starts them, tells of their ends, replaces the dead, and leaves none behind.
///
///   local_processes nodes({{{"/usr/bin/troupe", "node", "--join", head}, {{"TROUPE_SECRET", secret}}, "node-1.log"}},
///                         {.on_end = [](const local_process_end& end) { ... }});
///
/// Whatever ends this process, SIGKILL included, ends them, too.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/cluster/child_process.hpp"
#include "runtime/supervision/backoff.hpp"

namespace troupe {

/// Told of every end, in stop() as well.
struct local_process_end {
  std::size_t index = 0;    ///< in the list of commands
  std::uint64_t start = 0;  ///< 1 for the first process of this index, one more for each replacement
  pid_t id = 0;             ///< 0: a replacement that could not be started
  process_end how;          ///< where it was started
  std::string text;         ///< for people: "exited with status 3"
  std::optional<std::chrono::milliseconds> replaced_after;  ///< none: there will be no other
};

/// A process that exits with 0 meant to leave and is not replaced.
struct replacement_options {
  std::uint32_t max = 0;  ///< of one index within `window`; past it the index stays empty
  std::chrono::milliseconds window{60'000};
  backoff delay{std::chrono::milliseconds{1'000}, std::chrono::milliseconds{10'000}};
};

struct local_process_options {
  replacement_options replacement;
  /// How long processes may take to end after SIGTERM, before they are killed.
  std::chrono::milliseconds stop_within{5'000};
  /// Called on a thread of its own, one call at a time; must neither throw nor call stop().
  std::function<void(const local_process_end&)> on_end;
};

/// Thread safe.
class local_processes {
 public:
  /// Starts one process for each command. Throws system_error where one cannot be started; then none is left.
  local_processes(std::vector<process_command> commands, local_process_options options);
  /// stop()
  ~local_processes();
  local_processes(const local_processes&) = delete;
  local_processes& operator=(const local_processes&) = delete;

  /// By index; 0: none runs at the moment.
  std::vector<pid_t> ids() const;
  /// To the process of an index, where one runs.
  void signal(std::size_t index, int which);
  /// SIGTERM to all, and SIGKILL to those that are still there after `stop_within`. Returns when all are gone and
  /// their ends were told. Nothing is started any more.
  void stop();

 private:
  class minder;
  std::unique_ptr<minder> minder_;
};

}  // namespace troupe
