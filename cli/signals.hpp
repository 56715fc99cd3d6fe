#pragma once

#include <csignal>
#include <filesystem>

#include "actors/job.hpp"

namespace troupe {

/// While it lives, the first SIGINT, SIGTERM or SIGHUP asks the job to save a cut and end, or a node to leave; a second
/// one, other than SIGHUP, ends the process at once. Where SIGHUP was ignored it stays so. SIGPIPE asks for the same,
/// once: nobody reads what this process writes (`| head` has seen enough). SIGUSR1, Slurm's, asks for a cut. One at a
/// time in a process.
class interruption {
 public:
  /// `first_told` is said at the first signal; empty: nothing is.
  explicit interruption(const char* first_told);
  ~interruption();
  interruption(const interruption&) = delete;
  interruption& operator=(const interruption&) = delete;

  stop_request& request() const noexcept;
  /// Whether the job was asked to end since nobody reads what this process writes.
  bool by_lost_reader() const noexcept;
  /// A file that a second signal takes away before it ends the process.
  void remove_when_aborted(const std::filesystem::path& file);

 private:
  struct sigaction interrupt_before_ {};
  struct sigaction terminate_before_ {};
  struct sigaction hangup_before_ {};
  struct sigaction cut_before_ {};
};

}  // namespace troupe
