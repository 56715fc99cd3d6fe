#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/transport/socket.hpp"

namespace troupe {

/// Looks names of hosts up in a thread of its own, which begins with the first name: the system's resolver blocks, and
/// may take many seconds where a name server does not answer.
class resolver {
 public:
  /// `done` is called on the resolver's thread with the addresses, or with none and the reason.
  using continuation = std::function<void(std::vector<socket_address>, std::string reason)>;

  resolver() = default;
  /// Waits for the look-up at hand, for as long as the system's resolver takes; the others are dropped.
  ~resolver();

  void look_up(host_and_port where, continuation done);

 private:
  struct job {
    host_and_port where;
    continuation done;
  };

  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<job> jobs_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace troupe
