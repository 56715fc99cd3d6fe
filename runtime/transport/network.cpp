#include "runtime/transport/network.hpp"

#include <chrono>
#include <thread>

namespace troupe {

void end_network(std::shared_ptr<network>& last) {
  while (last.use_count() > 1)
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  last.reset();
}

}  // namespace troupe
