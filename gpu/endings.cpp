#include "gpu/endings.hpp"

#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

namespace troupe::gpu {

endings::~endings() {
  constexpr std::chrono::seconds patience{10};
  std::unique_lock lock(count_->mutex);
  count_->fewer.wait_for(lock, patience, [&] { return count_->under_way == 0; });
}

void endings::begin(std::function<void()> end) {
  {
    const std::lock_guard lock(count_->mutex);
    ++count_->under_way;
  }
  // Nothing of `end` is left when it counts as through.
  const auto run = [end = std::make_shared<std::function<void()>>(std::move(end)), count = count_] {
    (*end)();
    *end = {};
    const std::lock_guard lock(count->mutex);
    --count->under_way;
    count->fewer.notify_all();
  };
  try {
    std::thread(run).detach();
  } catch (const std::system_error&) {
    run();  // there are too many threads
  }
}

}  // namespace troupe::gpu
