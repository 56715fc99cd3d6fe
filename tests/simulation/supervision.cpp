/// Supervision under random kills, failed starts, children that do not stop, and requests meanwhile.
///
/// What is checked, for every seed:
/// 1. Incarnations of a name only rise, across restarts of its supervisor too.
/// 2. A supervisor stops in reverse order and starts in order, and starts nobody before all who must stop have.
/// 3. A restart comes no earlier than its back-off says; no window holds more restarts than the intensity; a
///    supervisor gives up exactly when it would.
/// 4. In the end every child that must live does, once, and the directory agrees; whoever has ended left no orphans.
/// 5. Every request by name was answered, or failed, in time.
/// What is not: messages that are lost, which does not happen inside a process.

#include <deque>
#include <map>
#include <memory>
#include <set>

#include <doctest/doctest.h>

#include "runtime/probe.hpp"
#include "runtime/supervision/request.hpp"
#include "runtime/supervision/supervisor.hpp"
#include "tests/simulation/event_log.hpp"
#include "tests/seeds.hpp"
#include "tests/simulation/simulator.hpp"

using namespace troupe;
using std::chrono::milliseconds;
using kind = child_event::kind;
using time_point = caf::actor_clock::time_point;

namespace {

constexpr int asks_per_leaf = 5;

struct tree_options {
  supervisor_options supervisor;
  std::vector<child_spec> children;
};

/// Follows one supervisor's events and checks each against those before.
class supervisor_model {
 public:
  explicit supervisor_model(const tree_options& options) : options_(options.supervisor) {
    for (const auto& spec : options.children) {
      order_.push_back(spec.name);
      kinds_[spec.name] = spec.restart;
      waiting_.insert(index(spec.name));
    }
  }

  void follow(const child_event& event) {
    const auto i = index(event.child);
    switch (event.what) {
      case kind::started:
        REQUIRE_FALSE(closing_);
        REQUIRE(waiting_.count(i) == 1);
        REQUIRE(event.at >= not_before_[i]);
        if (in_order()) {
          REQUIRE(doomed_.empty());
          REQUIRE(*waiting_.begin() == i);
        }
        waiting_.erase(i);
        alive_.insert(i);
        break;
      case kind::ended:
        // It lived, or could not be started.
        REQUIRE(alive_.count(i) + waiting_.count(i) == 1);
        leave(i, event.reason ? true : kinds_[event.child] == restart_kind::permanent);
        break;
      case kind::stopped:
      case kind::abandoned:
        REQUIRE(alive_.count(i) == 1);
        if (doomed_.count(i) == 0)
          close();  // its own supervisor told it to
        if (in_order() || closing_)
          REQUIRE(*doomed_.rbegin() == i);
        leave(i, true);
        break;
      case kind::restarting:
        prune(event.at);
        REQUIRE(restarts_.size() < options_.intensity);
        restarts_.push_back(event.at);
        ++restart_count;
        for (std::size_t j = 0; j < order_.size(); ++j)
          if (j == i || options_.strategy == restart_strategy::one_for_all
              || (options_.strategy == restart_strategy::rest_for_one && j > i)) {
            not_before_[j] = std::max(not_before_[j], event.at + event.delay);
            if (alive_.count(j) == 1)
              doomed_.insert(j);
          }
        break;
      case kind::escalated:
        prune(event.at);
        REQUIRE(restarts_.size() == options_.intensity);
        close();
        break;
    }
  }

  /// Nothing is left to do.
  void at_rest() const {
    CHECK(doomed_.empty());
    CHECK(waiting_.empty());
  }

  std::uint64_t restart_count = 0;

 private:
  std::size_t index(const std::string& name) const {
    const auto found = std::find(order_.begin(), order_.end(), name);
    REQUIRE(found != order_.end());
    return found - order_.begin();
  }

  bool in_order() const {
    return options_.strategy != restart_strategy::one_for_one;
  }

  void close() {
    closing_ = true;
    doomed_ = alive_;
  }

  void leave(std::size_t i, bool comes_back) {
    alive_.erase(i);
    doomed_.erase(i);
    waiting_.erase(i);
    if (comes_back && kinds_[order_[i]] != restart_kind::temporary)
      waiting_.insert(i);
  }

  void prune(time_point now) {
    while (!restarts_.empty() && restarts_.front() + options_.window <= now)
      restarts_.pop_front();
  }

  supervisor_options options_;
  std::vector<std::string> order_;
  std::map<std::string, restart_kind> kinds_;
  std::set<std::size_t> alive_, doomed_, waiting_;
  std::map<std::size_t, time_point> not_before_;
  std::deque<time_point> restarts_;
  bool closing_ = false;
};

/// One random program: a root over leaves and two inner supervisors with leaves of their own.
class program {
 public:
  explicit program(std::uint64_t seed) : sim_(seed, {.slowness = 0.001 * (seed % 16)}) {
    trees_["root"] = {random_options("root"), {leaf("leaf/0"), inner("inner/0"), leaf("leaf/1"), inner("inner/1")}};
    root_ = spawn_supervisor(sim_.system(), trees_["root"].supervisor, names_, trees_["root"].children, listener_);
    for (const auto& name : leaves_)
      ask_now_and_then(name);
  }

  void run() {
    sim_.kill_at_random(names_, {.kills_max = sim_.draw(12), .probability = 0.01});
    const auto root_dies = sim_.chance(0.1);
    if (root_dies) {
      sim_.run_for(milliseconds{sim_.draw(3'000)});
      send_exit(caf::actor_cast<caf::actor>(root_), caf::exit_reason::kill);
    }
    REQUIRE(sim_.run() == simulator::outcome::quiet);
    sim_.kill_at_random(names_, {.kills_max = 0});
    check_events();
    check_the_living();
    CHECK(answers_ == leaves_.size() * asks_per_leaf);
  }

  std::uint64_t escalations() const {
    return count(*log_, kind::escalated);
  }

 private:
  supervisor_options random_options(const std::string& name) {
    supervisor_options options;
    options.name = name;
    options.strategy = static_cast<restart_strategy>(sim_.draw(3));
    options.intensity = 1 + sim_.draw(4);
    options.window = milliseconds{20 + sim_.draw(2'000)};
    options.backoff_first = milliseconds{sim_.draw(3) * 50};
    options.backoff_max = milliseconds{100};
    options.jitter_seed = sim_.draw(1'000);
    options.kill_within = milliseconds{sim_.draw(4) * 20};
    return options;
  }

  child_spec leaf(const std::string& name) {
    leaves_.push_back(name);
    const auto flaky = sim_.chance(0.2);
    const auto stubborn = sim_.chance(0.2);
    child_spec spec{name, [this, flaky, stubborn](caf::actor_system& system, const child_context&) {
                      if (flaky && sim_.chance(0.3))
                        throw std::runtime_error("no space left");
                      return system.spawn([stubborn](caf::event_based_actor* self) {
                        if (stubborn)
                          self->set_exit_handler([self](caf::exit_msg& message) {
                            if (is(message.reason, errc::killed_by_chaos))
                              self->quit(message.reason);
                          });
                        return puppet(self);
                      });
                    }};
    spec.restart = sim_.chance(0.7) ? restart_kind::permanent : static_cast<restart_kind>(sim_.draw(3));
    spec.stop_within = milliseconds{200};
    return spec;
  }

  child_spec inner(const std::string& name) {
    trees_[name] = {random_options(name), {leaf(name + "/leaf/0"), leaf(name + "/leaf/1"), leaf(name + "/leaf/2")}};
    child_spec spec{name, [this](caf::actor_system& system, const child_context& context) {
                      const auto& tree = trees_.at(context.name);
                      return caf::actor_cast<caf::actor>(
                          spawn_supervisor(system, tree.supervisor, context.names, tree.children, listener_));
                    }};
    spec.stop_within = milliseconds{1'000};
    return spec;
  }

  void ask_now_and_then(const std::string& name) {
    const auto asker = sim_.system().spawn([this, name](caf::event_based_actor* self) -> caf::behavior {
      return {[this, self, name](int left) {
        if (left == 0)
          return;
        const auto next = [this, self, left] {
          ++answers_;
          run_later(self, milliseconds{300}, [self, left] { self->send(self, left - 1); });
        };
        request_by_name(self, names_, name, left,
                        {.attempts_max = 5, .attempt_within = milliseconds{500}, .within = milliseconds{3'000}},
                        [next, left](int x) {
                          CHECK(x == left + 1);
                          next();
                        },
                        [next](const caf::error& reason) {
                          CHECK(is(reason, errc::timed_out));
                          next();
                        });
      }};
    });
    caf::anon_send(asker, asks_per_leaf);
  }

  void check_events() {
    INFO(in_short(*log_));
    models_.emplace("root", trees_["root"]);
    std::map<std::string, std::uint64_t> incarnations;
    for (const auto& event : *log_) {
      CAPTURE(event.explanation);
      REQUIRE(models_.count(event.supervisor) == 1);
      models_.at(event.supervisor).follow(event);
      if (event.what != kind::started)
        continue;
      REQUIRE(event.incarnation > incarnations[event.child]);
      incarnations[event.child] = event.incarnation;
      if (trees_.count(event.child) == 1) {
        models_.erase(event.child);
        models_.emplace(event.child, trees_[event.child]);
      }
    }
  }

  void check_the_living() {
    INFO(in_short(*log_));
    std::set<caf::actor> living;
    visit(root_, "root", living);
    for (const auto& event : *log_)
      if (event.handle && living.count(event.handle) == 0)
        CHECK(simulator::has_ended(event.handle));
    for (const auto& entry : sim_.ask<name_list>(names_, list_names{}).entries)
      CHECK((!entry.handle || living.count(entry.handle) == 1));
  }

  void visit(const supervisor_actor& supervisor, const std::string& name, std::set<caf::actor>& living) {
    if (simulator::has_ended(caf::actor_cast<caf::actor>(supervisor)))
      return;
    CAPTURE(name);
    models_.at(name).at_rest();
    const auto list = sim_.ask<child_list>(supervisor, list_children{});
    CHECK(list.restarts == models_.at(name).restart_count);
    for (const auto& child : list.children) {
      CAPTURE(child.name);
      const auto entry = sim_.ask<directory_entry>(names_, resolve_name{child.name});
      CHECK(entry.handle == child.handle);
      CHECK(entry.incarnation == child.incarnation);
      if (!child.handle)
        continue;
      CHECK_FALSE(simulator::has_ended(child.handle));
      living.insert(child.handle);
      if (trees_.count(child.name) == 1)
        visit(caf::actor_cast<supervisor_actor>(child.handle), child.name, living);
    }
  }

  simulator sim_;
  directory_actor names_ = spawn_directory(sim_.system());
  std::shared_ptr<event_log> log_ = std::make_shared<event_log>();
  caf::actor listener_ = spawn_log(sim_.system(), log_);
  std::map<std::string, tree_options> trees_;
  std::vector<std::string> leaves_;
  std::map<std::string, supervisor_model> models_;
  supervisor_actor root_;
  std::size_t answers_ = 0;
};

}  // namespace

TEST_CASE("supervision holds what it promises, whoever dies when") {
  reset_probes();
  std::uint64_t escalations = 0;
  std::uint64_t runs = 0;
  for_each_seed(500, [&](std::uint64_t seed) {
    program run{seed};
    run.run();
    escalations += run.escalations();
    ++runs;
  });
  if (runs < 500)
    return;
  // The rare paths were taken.
  CHECK(escalations > 0);
  const auto probes = probe_counts();
  for (const auto& [name, visits] : probes)
    MESSAGE(name, ": ", visits);
  for (const std::string name : {"supervisor: a child failed before its turn to be stopped",
                           "supervisor: a child had to be killed", "supervisor: a child was given up",
                           "supervisor: a restart was widened by another"}) {
    CAPTURE(name);
    CHECK(probes.count(name) == 1);
  }
}

TEST_CASE("a seed replays its run") {
  const auto trace = [](std::uint64_t seed) {
    simulator sim{seed};
    const auto names = spawn_directory(sim.system());
    const auto log = std::make_shared<event_log>();
    const auto root = spawn_supervisor(sim.system(), {.intensity = 100}, names,
                                       {puppet_spec("a"), puppet_spec("b"), puppet_spec("c")},
                                       spawn_log(sim.system(), log));
    sim.kill_at_random(names, {.kills_max = 20, .probability = 0.05});
    while (sim.killed() < 20)
      REQUIRE(sim.run_for(milliseconds{10}) == simulator::outcome::done);
    return in_short(*log) + " in " + std::to_string(sim.steps());
  };
  CHECK(trace(3) == trace(3));
  CHECK(trace(3) != trace(4));
}
