#pragma once

/// Runs an actor program on one thread in virtual time and chooses, from a seed, everything that is left to chance on
/// a real machine: whose turn it is, whether a timeout comes before the message it waits for, who dies when. The
/// order of the messages in a mailbox is kept. The same seed gives the same run.
///
///   simulator sim{seed};
///   auto names = spawn_directory(sim.system());
///   auto root = spawn_supervisor(sim.system(), ...);
///   sim.kill_at_random(names, {.prefixes = {"shard/"}, .kills_max = 3});
///   REQUIRE(sim.run() == simulator::outcome::quiet);
///
/// Actors under simulation must not block and must not be detached (see spawn_computing). Declare the simulator before
/// every handle to its actors.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <caf/all.hpp>
#include <caf/scheduler/test_coordinator.hpp>

#include "runtime/supervision/directory.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

struct simulator_options {
  std::uint64_t steps_max = 1'000'000;  ///< a run that needs more goes round in circles
  double slowness = 0.002;  ///< chance, at each step, that the next timeout comes although there is work to do
};

/// Whom to kill, and how often.
struct random_kills {
  std::vector<std::string> prefixes{""};  ///< of the names of candidates
  std::uint64_t kills_max = 1;
  double probability = 0.01;              ///< at each step
};

class simulator {
 public:
  enum class outcome { done, quiet, out_of_steps };

  explicit simulator(std::uint64_t seed, simulator_options options = {})
      : options_(options), random_(seed), system_(config_) {
    system_.await_actors_before_shutdown(false);
  }

  ~simulator() {
    // Ends whoever still has something to do, however it would go on.
    wedged_.clear();
    jobs().insert(jobs().end(), stuck_.begin(), stuck_.end());
    living_->clear();
    observer_ = {};
    while (!jobs().empty() || scheduler().trigger_timeout()) {
      if (jobs().empty())
        continue;
      if (const auto actor = dynamic_cast<caf::scheduled_actor*>(jobs().front()))
        send_exit(caf::actor_cast<caf::actor>(actor->ctrl()), caf::exit_reason::kill);
      scheduler().run_once();
    }
  }

  simulator(const simulator&) = delete;
  simulator& operator=(const simulator&) = delete;

  caf::actor_system& system() {
    return system_;
  }

  /// Chance for the test itself: uniform in [0, n).
  std::uint64_t draw(std::uint64_t n) {
    return random_() % n;
  }

  bool chance(double probability) {
    return static_cast<double>(random_() >> 11) * 0x1.0p-53 < probability;
  }

  /// From now on kills who holds a matching name in `names`, with errc::killed_by_chaos.
  void kill_at_random(const directory_actor& names, random_kills kills) {
    kills_ = std::move(kills);
    killed_ = 0;
    observe(names);
  }

  /// Kills the present holder of a name; false where nobody (known yet) lives there.
  bool kill(const std::string& name) {
    const auto found = living_->find(name);
    if (found == living_->end() || has_ended(found->second))
      return false;
    send_exit(found->second, make_error(errc::killed_by_chaos, "killed by the simulator"));
    return true;
  }

  /// From now on it stays in a handler: it handles nothing more, and does not end whatever it is told.
  void wedge(const caf::actor& whom) {
    wedged_[pointer_to(whom)] = whom;
  }

  /// From now on whoever holds `name` in the observed directory takes each of its turns with this chance only.
  void slow_down(const std::string& name, double chance_of_a_turn) {
    slow_[name] = chance_of_a_turn;
  }

  /// Whether somebody holds `name` in the observed directory.
  bool lives(const std::string& name) const {
    const auto found = living_->find(name);
    return found != living_->end() && !has_ended(found->second);
  }

  /// From now on timeouts come early with this chance at each step.
  void set_slowness(double probability) {
    options_.slowness = probability;
  }

  /// Follows the entries of a directory, for `kill` and `lives`, and of no other any more.
  void observe(const directory_actor& names) {
    if (observed_ == names.address())
      return;
    observed_ = names.address();
    living_->clear();
    send_exit(observer_, caf::exit_reason::kill);
    observer_ = system_.spawn([living = living_](caf::event_based_actor*) -> caf::behavior {
      return {[living](const directory_entry& entry) {
        if (entry.handle)
          (*living)[entry.name] = entry.handle;
        else
          living->erase(entry.name);
      }};
    });
    caf::anon_send(names, watch_names{"", observer_});
  }

  /// Goes on until `done()` or until nothing is left to do, neither now nor later.
  template <class Predicate>
  outcome run_until(Predicate done) {
    const auto end = steps_ + options_.steps_max;
    while (steps_ < end) {
      if (done())
        return outcome::done;
      if (!step())
        return outcome::quiet;
    }
    return outcome::out_of_steps;
  }

  outcome run() {
    return run_until([] { return false; });
  }

  /// Goes on for that much virtual time, even when nothing is left to do earlier.
  outcome run_for(std::chrono::milliseconds time) {
    auto over = std::make_shared<bool>(false);
    const auto alarm = system_.spawn([over](caf::event_based_actor*) -> caf::behavior {
      return {[over](bool) { *over = true; }};
    });
    caf::delayed_anon_send(alarm, time, true);
    return run_until([&] { return *over; });
  }

  /// Sends a request from outside and runs until its answer is there. Throws where it is an error or never comes.
  template <class Result, class Handle, class Message>
  Result ask(const Handle& whom, Message message) {
    caf::scoped_actor self{system_};
    auto response = self->request(whom, caf::infinite, std::move(message));
    if (run_until([&] { return self->has_next_message(); }) != outcome::done)
      throw std::runtime_error("the simulation ended without an answer");
    std::optional<Result> result;
    response.receive([&](Result& x) { result = std::move(x); },
                     [](caf::error& reason) { throw std::runtime_error(describe(reason)); });
    return std::move(*result);
  }

  caf::detail::test_actor_clock& clock() {
    return scheduler().clock();
  }

  std::uint64_t steps() const {
    return steps_;
  }

  /// By kill_at_random.
  std::uint64_t killed() const {
    return killed_;
  }

  static bool has_ended(const caf::actor& whom) {
    return caf::actor_cast<caf::abstract_actor*>(whom)->getf(caf::abstract_actor::is_terminated_flag);
  }

 private:
  struct config : caf::actor_system_config {
    config() {
      set("scheduler.policy", caf::atom("testing"));
      set("logger.verbosity", caf::atom("quiet"));
    }
  };

  caf::scheduler::test_coordinator& scheduler() {
    return static_cast<caf::scheduler::test_coordinator&>(system_.scheduler());
  }

  std::deque<caf::resumable*>& jobs() {
    return scheduler().jobs;
  }

  /// Lets one actor handle one message, or the next timeout come; false where there is neither.
  bool step() {
    ++steps_;
    if (killed_ < kills_.kills_max && chance(kills_.probability))
      kill_someone();
    if (jobs().empty() || (scheduler().has_pending_timeout() && chance(options_.slowness)))
      return scheduler().trigger_timeout();
    std::swap(jobs().front(), jobs()[draw(jobs().size())]);
    if (wedged_.count(jobs().front()) > 0) {
      stuck_.push_back(jobs().front());
      jobs().pop_front();
    } else if (!lets_pass(jobs().front())) {
      scheduler().run_once();
    }
    return true;
  }

  bool lets_pass(caf::resumable* whose) {
    for (const auto& [name, chance_of_a_turn] : slow_)
      if (const auto found = living_->find(name); found != living_->end() && pointer_to(found->second) == whose)
        return !chance(chance_of_a_turn);
    return false;
  }

  static caf::resumable* pointer_to(const caf::actor& whom) {
    return dynamic_cast<caf::resumable*>(caf::actor_cast<caf::abstract_actor*>(whom));
  }

  void kill_someone() {
    std::vector<std::string> candidates;
    for (const auto& [name, handle] : *living_)
      if (std::any_of(kills_.prefixes.begin(), kills_.prefixes.end(),
                      [&n = name](const std::string& prefix) { return n.compare(0, prefix.size(), prefix) == 0; }))
        candidates.push_back(name);
    if (!candidates.empty() && kill(candidates[draw(candidates.size())]))
      ++killed_;
  }

  using name_map = std::map<std::string, caf::actor>;

  simulator_options options_;
  std::mt19937_64 random_;
  config config_;
  caf::actor_system system_;
  std::shared_ptr<name_map> living_ = std::make_shared<name_map>();
  caf::actor_addr observed_;
  caf::actor observer_;
  std::map<caf::resumable*, caf::actor> wedged_;
  std::vector<caf::resumable*> stuck_;  // of the wedged: who has messages, and their turn never comes
  std::map<std::string, double> slow_;  // by name: the chance of a turn
  random_kills kills_{.kills_max = 0};
  std::uint64_t steps_ = 0;
  std::uint64_t killed_ = 0;
};

}  // namespace troupe
