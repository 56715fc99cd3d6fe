#include "runtime/transport/resolver.hpp"

#include <utility>

#include "runtime/error.hpp"

namespace troupe {

resolver::~resolver() {
  {
    const std::lock_guard held(mutex_);
    stopped_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable())
    thread_.join();
}

void resolver::look_up(host_and_port where, continuation done) {
  {
    const std::lock_guard held(mutex_);
    jobs_.push_back({std::move(where), std::move(done)});
  }
  if (!thread_.joinable())
    thread_ = std::thread([this] { run(); });
  changed_.notify_one();
}

void resolver::run() {
  for (;;) {
    std::unique_lock held(mutex_);
    changed_.wait(held, [&] { return stopped_ || !jobs_.empty(); });
    if (stopped_)
      return;
    const auto next = std::move(jobs_.front());
    jobs_.pop_front();
    held.unlock();
    try {
      next.done(resolve(next.where, false), {});
    } catch (const system_error& error) {
      next.done({}, error.what());
    }
  }
}

}  // namespace troupe
