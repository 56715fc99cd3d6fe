#pragma once

/// How Troupe sets CAF up, and the few things about actors that CAF leaves open.

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include <caf/all.hpp>

namespace troupe {

class computing_thread;

/// Threads that share one queue (a waking worker costs less than stealing does), and no log. The scheduler's threads
/// serve actors that coordinate; actors that compute have their own, see spawn_computing and computing_thread.hpp.
class system_config : public caf::actor_system_config {
 public:
  /// 0 threads: one for each core, but between 2 and 8.
  explicit system_config(std::size_t threads = 0);

  /// See shared_thread.
  struct shared_threads {
    std::mutex mutex;
    std::map<std::string, std::shared_ptr<computing_thread>> by_name;
  };
  shared_threads& threads() const noexcept { return *threads_; }

 private:
  std::shared_ptr<shared_threads> threads_ = std::make_shared<shared_threads>();
};

/// An actor system that ends in bounded time (P3). CAF waits for every actor, but nothing interrupts one that is stuck in
/// a handler: such a system is left behind, with its threads, for the end of the process to take away.
class bounded_system {
 public:
  /// `patience`: how long actors may take to end once everybody has been told to.
  explicit bounded_system(std::chrono::milliseconds patience);
  ~bounded_system();
  bounded_system(const bounded_system&) = delete;
  bounded_system& operator=(const bounded_system&) = delete;

  caf::actor_system& get() noexcept { return world_->system; }
  /// Waits for all actors to end; false: some did not within the patience.
  bool wind_down() const;

 private:
  struct world {
    system_config config;
    caf::actor_system system{config};
  };

  std::chrono::milliseconds patience_;
  std::unique_ptr<world> world_;
};

/// Whether `system` runs on the simulator's scheduler: one thread and virtual time.
bool is_simulated(caf::actor_system& system);

/// Spawns an actor that computes: it owns a thread, except in a simulation, which has only one.
template <class F, class... Ts>
auto spawn_computing(caf::actor_system& system, F f, Ts&&... xs) {
  return is_simulated(system) ? system.spawn(std::move(f), std::forward<Ts>(xs)...)
                              : system.spawn<caf::detached>(std::move(f), std::forward<Ts>(xs)...);
}

/// Sends an exit message to `whom` that overtakes ordinary messages. An actor without an exit handler of its own ends
/// with `reason`; caf::exit_reason::kill spares nobody. An actor inside a handler looks at it only afterwards.
///
/// Actors that may be told to end must not `await` responses, but use `then`: while CAF awaits it sets urgent messages
/// aside, and takes them up again only when another urgent one comes.
void send_exit(const caf::actor& whom, caf::error reason);

/// Sends from `self` to an untyped handle, such as a name in the directory resolves to; CAF's own `send` lets a typed
/// actor write to typed handles only. The receiver's header says which messages it takes.
template <class Message>
void tell(caf::local_actor* self, const caf::actor& whom, Message&& message) {
  if (whom)
    whom->eq_impl(caf::make_message_id(), self->ctrl(), self->context(), std::forward<Message>(message));
}

/// Runs `f` on `self`'s thread after `delay` by the actor clock, unless `self` has ended. Needs no handler in the
/// behavior: the timer is a request that nobody answers.
template <class F>
void run_later(caf::scheduled_actor* self, std::chrono::milliseconds delay, F f) {
  const auto request = self->new_request_id(caf::message_priority::normal);
  self->request_response_timeout(caf::duration{delay}, request);
  self->add_multiplexed_response_handler(request.response_id(), caf::behavior{[f](caf::error&) mutable { f(); }});
}

}  // namespace troupe
