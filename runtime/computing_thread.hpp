#pragma once

/// A thread for actors that compute in turn, such as a lane's replica and its shard: a message from one to the other wakes
/// no thread, and finds the core's caches as its sender left them.

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include <caf/all.hpp>

namespace troupe {

/// Runs those that spawn_on gave it, a message each in turn; one of the system's threads is taken up while any of them
/// lives. Thread safe.
///
/// Nothing interrupts an actor that is stuck in a handler, but it does not hold up who comes in its place: where an actor
/// is spawned while a handler runs, another of the system's threads goes on with all but that handler's actor.
class computing_thread final : public caf::execution_unit, public std::enable_shared_from_this<computing_thread> {
 public:
  explicit computing_thread(caf::actor_system& system) : execution_unit(&system) {}

  /// Once by each of its actors, for as long as it lives.
  void enter();
  void leave();

  /// From any thread, for an actor of its own that has messages.
  void exec_later(caf::resumable* ready) override;

 private:
  void start();
  void run(std::uint64_t thread);
  caf::resumable* next(std::uint64_t thread);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<caf::resumable*> ready_;
  std::size_t actors_ = 0;
  std::uint64_t thread_ = 0;  // the one that is in charge; they are numbered
  bool running_ = false;      // it is
  bool in_handler_ = false;   // and so is it
};

/// An actor of class `Base` on a computing thread.
template <class Base>
class on_computing_thread final : public Base {
 public:
  on_computing_thread(caf::actor_config& config, std::shared_ptr<computing_thread> thread)
      : Base(config), thread_(std::move(thread)) {
    thread_->enter();
  }

  using Base::enqueue;
  void enqueue(caf::mailbox_element_ptr what, caf::execution_unit*) override {
    Base::enqueue(std::move(what), thread_.get());
  }
  void launch(caf::execution_unit*, bool lazy, bool hide) override { Base::launch(thread_.get(), lazy, hide); }
  void on_cleanup(const caf::error&) override { thread_->leave(); }  // once, whatever ends it

 private:
  std::shared_ptr<computing_thread> thread_;
};

/// The system's thread of this name. REQUIRES: the system was set up with a system_config (system.hpp).
std::shared_ptr<computing_thread> shared_thread(caf::actor_system& system, const std::string& name);

/// Spawns an actor from a function as caf::actor_system::spawn does, on `thread`.
template <class F, class... Ts>
auto spawn_on(std::shared_ptr<computing_thread> thread, F f, Ts&&... xs) {
  using base = caf::infer_impl_from_fun_t<F>;
  auto& system = thread->system();
  caf::actor_config config;
  config.init_fun = caf::detail::init_fun_factory<base, F>{}(std::move(f), std::forward<Ts>(xs)...);
  return system.template spawn_impl<on_computing_thread<base>, caf::no_spawn_options>(config, std::move(thread));
}

}  // namespace troupe
