#pragma once

/// One process that this one starts and that does not outlive it.

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace troupe {

struct process_command {
  std::vector<std::string> words;  ///< the first is the program's path; PATH is not searched
  /// Put over this process's environment. Secrets belong here: a command line can be read by every user.
  std::vector<std::pair<std::string, std::string>> environment;
  std::filesystem::path log;       ///< what the process writes to stdout and stderr is appended
};

/// How a process ended.
struct process_end {
  int exit_status = -1;  ///< -1: a signal ended it
  int signal = 0;

  bool clean() const noexcept { return exit_status == 0; }
};

/// "exited with status 3", "was killed by signal 9 (Killed)"
std::string to_string(const process_end& end);

/// The child lives in a process group of its own, so that a Ctrl-C at the terminal does not reach it; its stdin is
/// empty, its signals are as at login, and it inherits no descriptor.
///
/// The kernel kills it when the *thread* that started it ends, however that happens: start it from one that lives as
/// long as the child is to.
class child_process {
 public:
  /// Throws system_error naming the program or the log that cannot be used.
  explicit child_process(const process_command& command);
  /// Kills the process and waits for its end.
  ~child_process();
  child_process(child_process&& other) noexcept;
  child_process& operator=(child_process&&) = delete;

  pid_t id() const noexcept { return id_; }
  /// Becomes readable when the process has ended.
  int descriptor() const noexcept { return descriptor_; }
  /// Nothing happens where the process has ended.
  void signal(int which) const noexcept;
  /// Waits for the end, then kills what the process may have left in its group. Call once.
  process_end reap();

 private:
  pid_t id_ = 0;  ///< 0: reaped, or moved from
  int descriptor_ = -1;
};

}  // namespace troupe
