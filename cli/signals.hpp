#pragma once

#include <csignal>

#include "actors/job.hpp"

namespace troupe {

/// While it lives, the first SIGINT or SIGTERM asks the job to save a cut and end; a second one ends the process at
/// once. One at a time in a process.
class interruption {
 public:
  interruption();
  ~interruption();
  interruption(const interruption&) = delete;
  interruption& operator=(const interruption&) = delete;

  const stop_request& request() const noexcept;

 private:
  struct sigaction interrupt_before_ {};
  struct sigaction terminate_before_ {};
};

}  // namespace troupe
