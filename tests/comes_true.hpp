#pragma once

#include <chrono>
#include <thread>

namespace troupe {

/// How long a test waits for what must happen.
inline constexpr std::chrono::seconds long_enough{120};

/// False: it did not become true for too long.
template <class Condition>
bool comes_true(Condition condition, std::chrono::milliseconds within = long_enough) {
  for (const auto until = std::chrono::steady_clock::now() + within; std::chrono::steady_clock::now() < until;) {
    if (condition())
      return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return condition();
}

}  // namespace troupe
