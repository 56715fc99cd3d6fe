#include "runtime/computing_thread.hpp"

#include <thread>

#include "runtime/system.hpp"

namespace troupe {

void computing_thread::enter() {
  const std::lock_guard lock(mutex_);
  if (!running_ || in_handler_)
    start();
  ++actors_;
}

void computing_thread::leave() {
  const std::lock_guard lock(mutex_);
  --actors_;
  changed_.notify_one();
}

void computing_thread::exec_later(caf::resumable* ready) {
  const std::lock_guard lock(mutex_);
  ready_.push_back(ready);
  changed_.notify_one();
}

void computing_thread::start() {
  std::thread([self = shared_from_this(), thread = thread_ + 1]() mutable {
    auto& system = self->system();
    system.inc_detached_threads();  // it waits for them when it ends, and not before the actors have
    self->run(thread);
    self.reset();
    system.dec_detached_threads();
  }).detach();
  ++thread_;
  running_ = true;
  in_handler_ = false;
}

void computing_thread::run(std::uint64_t thread) {
  caf::scoped_execution_unit context{&system()};  // others that its actors write to run on the scheduler's threads
  while (auto* const actor = next(thread)) {
    constexpr std::size_t messages = 1;
    if (actor->resume(&context, messages) == caf::resumable::resume_later)
      exec_later(actor);
    else
      intrusive_ptr_release(actor);
  }
}

/// Null: this thread's time is over.
caf::resumable* computing_thread::next(std::uint64_t thread) {
  std::unique_lock lock(mutex_);
  if (thread != thread_)
    return nullptr;
  in_handler_ = false;
  changed_.wait(lock, [this] { return !ready_.empty() || actors_ == 0; });
  if (ready_.empty()) {
    running_ = false;
    return nullptr;
  }
  auto* const first = ready_.front();
  ready_.pop_front();
  in_handler_ = true;
  return first;
}

std::shared_ptr<computing_thread> shared_thread(caf::actor_system& system, const std::string& name) {
  auto& threads = dynamic_cast<const system_config&>(system.config()).threads();
  const std::lock_guard lock(threads.mutex);
  auto& own = threads.by_name[name];
  if (!own)
    own = std::make_shared<computing_thread>(system);
  return own;
}

}  // namespace troupe
