#include "runtime/transport/network.hpp"

#include <chrono>
#include <thread>

namespace troupe {

void end_network(std::shared_ptr<network>& last) {
  constexpr std::chrono::seconds patience{5};
  for (const auto until = std::chrono::steady_clock::now() + patience; last.use_count() > 1;) {
    if (std::chrono::steady_clock::now() > until) {
      static_cast<void>(new std::shared_ptr<network>(std::move(last)));  // so that nobody's is the last one
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  last.reset();
}

}  // namespace troupe
