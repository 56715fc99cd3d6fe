#include "runtime/supervision/supervisor.hpp"

#include <algorithm>
#include <deque>
#include <list>
#include <map>
#include <set>
#include <stdexcept>

#include <fmt/format.h>

#include "runtime/probe.hpp"
#include "runtime/supervision/backoff.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

namespace {

using time_point = caf::actor_clock::time_point;
using event_kind = child_event::kind;

/// How long the directory may take to say which incarnations it knows.
constexpr std::chrono::seconds directory_patience{10};

std::string in_words(std::chrono::milliseconds x) {
  return x.count() % 1000 == 0 ? fmt::format("{} s", x.count() / 1000) : fmt::format("{} ms", x.count());
}

struct child {
  enum class phase : std::uint8_t {
    waiting,   ///< for its start, at `start_at` or later
    running,
    stopping,  ///< told to end; killed at `deadline`
    killed,    ///< abandoned at `deadline`
    finished,  ///< transient and ended normally
  };

  child_spec spec;
  phase now = phase::waiting;
  time_point start_at{};
  time_point deadline{};
  std::uint64_t incarnation = 0;
  caf::actor handle;    ///< running, stopping, killed
  bool doomed = false;  ///< to be stopped, in its turn
  bool forget = false;  ///< once stopped
  caf::typed_response_promise<caf::actor> started;
  std::vector<caf::response_promise> stopped;
};

/// All decisions are in `step`, which does the one thing that is due; everything else only marks children and runs it.
/// That way failures that come in the middle of a restart need no cases of their own.
class supervisor_state {
 public:
  explicit supervisor_state(supervisor_actor::pointer self) : self_(self) {
    // nop
  }

  ~supervisor_state() {
    const auto gone = make_error(errc::escalated, fmt::format("supervisor '{}' has ended", options_.name));
    for (auto& x : children_) {
      if (x.handle)
        send_exit(x.handle, caf::exit_reason::kill);
      answer_requests(x, gone);
    }
    for (auto& promise : shut_downs_)
      promise.deliver(caf::unit);
  }

  supervisor_actor::behavior_type run(const supervisor_options& options, const directory_actor& names,
                                      std::vector<child_spec>& children, const caf::actor& listener);

  std::string name;

 private:
  // -- what happens to a supervisor --------------------------------------------

  void child_ended(const caf::down_msg& down);
  caf::result<caf::actor> start_child(const struct start_child& request);
  caf::result<void> stop_child(const struct stop_child& request);

  void close(caf::error reason) {
    doom_all(std::move(reason));
    act();
  }

  // -- what it does ------------------------------------------------------------

  void act() {
    while (step()) {
      // nop
    }
  }

  bool step();
  bool step_stop(child& x);
  void start(child& x);
  void restart(child& failed, const caf::error& reason);
  void give_up(const child& x, const caf::error& reason);
  void doom_all(caf::error reason);
  void settle(child& x);

  // -- helpers -----------------------------------------------------------------

  time_point now() const {
    return self_->clock().now();
  }

  bool in_order() const {
    return options_.strategy != restart_strategy::one_for_one;
  }

  /// The time `delay` from now, at which `act` will be called.
  time_point wake_after(std::chrono::milliseconds delay) {
    const auto at = now() + delay;  // before the timer reads the clock, or it might come too early
    run_later(self_, delay, [this] { act(); });
    return at;
  }

  std::list<child>::iterator find(const std::string& child_name) {
    return std::find_if(children_.begin(), children_.end(), [&](const child& x) { return x.spec.name == child_name; });
  }

  static void answer_requests(child& x, const caf::error& failure) {
    if (x.started.pending())
      x.started.deliver(failure);
    for (auto& promise : x.stopped)
      promise.deliver(caf::unit);
  }

  void tell(event_kind what, const child& x, const caf::error& reason, std::string explanation,
            std::chrono::milliseconds delay = {}) const {
    if (listener_)
      caf::anon_send(listener_, child_event{what, options_.name, x.spec.name, x.incarnation, x.handle, reason,
                                            std::move(explanation), delay, now()});
  }

  supervisor_actor::pointer self_;
  supervisor_options options_;
  directory_actor names_;
  caf::actor listener_;
  std::list<child> children_;                         ///< in the order of their starts
  std::map<std::string, std::uint64_t> incarnations_; ///< the last one of every name ever started
  std::deque<time_point> restarts_in_window_;
  std::uint64_t restarts_ = 0;
  std::uint64_t abandoned_ = 0;
  bool ready_ = false;                                ///< the directory has said which incarnations it knows
  bool closing_ = false;
  caf::error end_;                                    ///< closing: what to end with
  std::vector<caf::response_promise> shut_downs_;
};

supervisor_actor::behavior_type supervisor_state::run(const supervisor_options& options, const directory_actor& names,
                                                      std::vector<child_spec>& children, const caf::actor& listener) {
  name = options.name;
  options_ = options;
  names_ = names;
  listener_ = listener;
  for (auto& spec : children)
    children_.emplace_back().spec = std::move(spec);
  keep_exceptions(self_);
  self_->set_down_handler([this](caf::down_msg& down) { child_ended(down); });
  self_->set_exit_handler([this](caf::exit_msg& message) {
    if (message.reason == caf::exit_reason::user_shutdown)
      close(message.reason);
    else if (message.reason)
      self_->quit(message.reason);
  });
  self_->request(names_, directory_patience, list_names{}).then(
      [this](const name_list& known) {
        for (const auto& entry : known.entries)
          incarnations_[entry.name] = entry.incarnation;
        ready_ = true;
        act();
      },
      [this](const caf::error& reason) {
        self_->quit(make_error(errc::escalated, fmt::format("directory: {}; supervisor '{}' could not start",
                                                            root_cause(reason), options_.name)));
      });
  return {
    [this](const struct start_child& request) { return start_child(request); },
    [this](const struct stop_child& request) { return stop_child(request); },
    [this](const shut_down&) -> caf::result<void> {
      shut_downs_.push_back(self_->make_response_promise());
      auto promise = shut_downs_.back();
      close({});
      return promise;
    },
    [this](const list_children&) -> caf::result<child_list> {
      if (!ready_)
        return caf::skip();
      child_list result{{}, restarts_, abandoned_};
      for (const auto& x : children_)
        result.children.push_back({x.spec.name, x.incarnation, x.handle});
      return result;
    },
  };
}

// -- what happens to a supervisor ----------------------------------------------

void supervisor_state::child_ended(const caf::down_msg& down) {
  const auto found = std::find_if(children_.begin(), children_.end(), [&](const child& x) {
    return x.handle && x.handle.address() == down.source;
  });
  if (found == children_.end())
    return;
  auto& x = *found;
  const auto told = x.now != child::phase::running;
  const auto finished = !told && !down.reason && x.spec.restart == restart_kind::transient;
  self_->send(names_, withdraw_name{x.spec.name, x.incarnation});
  tell(told ? event_kind::stopped : event_kind::ended, x, down.reason,
       fmt::format("{}: {}", x.spec.name, told ? "stopped" : root_cause(down.reason)));
  x.handle = {};
  x.now = finished ? child::phase::finished : child::phase::waiting;
  if (told || finished) {
    settle(x);
  } else if (x.doomed) {
    probe("supervisor: a child failed before its turn to be stopped");
    settle(x);
  } else {
    restart(x, down.reason);
  }
  act();
}

caf::result<caf::actor> supervisor_state::start_child(const struct start_child& request) {
  const auto& wanted = request.spec.name;
  if (closing_)
    return make_error(errc::escalated, fmt::format("{}: supervisor '{}' is shutting down", wanted, options_.name));
  if (find(wanted) != children_.end())
    return make_error(errc::bad_input, fmt::format("{}: supervisor '{}' has a child of this name; choose another, or "
                                                   "stop that one first", wanted, options_.name));
  auto promise = self_->make_response_promise<caf::actor>();
  auto& x = children_.emplace_back();
  x.spec = request.spec;
  x.started = promise;
  act();
  return promise;
}

caf::result<void> supervisor_state::stop_child(const struct stop_child& request) {
  const auto found = find(request.name);
  if (found == children_.end())
    return make_error(errc::unknown_name, fmt::format("{}: supervisor '{}' has no such child", request.name,
                                                      options_.name));
  auto promise = self_->make_response_promise();
  found->stopped.push_back(promise);
  found->forget = true;
  found->doomed = true;
  act();
  return promise;
}

// -- what it does --------------------------------------------------------------

/// Does the next thing that can be done now; false where there is none.
bool supervisor_state::step() {
  // Stop first: one child at a time, the last one first.
  const auto last = std::find_if(children_.rbegin(), children_.rend(), [](const child& x) { return x.doomed; });
  if (last != children_.rend()) {
    if (step_stop(*last))
      return true;
    if (closing_ || in_order())
      return false;
  }
  if (closing_) {
    self_->quit(end_);
    return false;
  }
  if (!ready_)
    return false;
  // Then start, the first one first. Where order matters, a child waits for those before it.
  for (auto& x : children_) {
    if (x.now != child::phase::waiting || x.doomed)
      continue;
    if (x.start_at <= now()) {
      start(x);
      return true;
    }
    if (in_order())
      return false;
  }
  return false;
}

bool supervisor_state::step_stop(child& x) {
  switch (x.now) {
    case child::phase::waiting:
    case child::phase::finished:
      settle(x);
      return true;
    case child::phase::running:
      x.now = child::phase::stopping;
      x.deadline = wake_after(x.spec.stop_within);
      send_exit(x.handle, caf::exit_reason::user_shutdown);
      return true;
    case child::phase::stopping:
      if (now() < x.deadline)
        return false;
      probe("supervisor: a child had to be killed");
      x.now = child::phase::killed;
      x.deadline = wake_after(options_.kill_within);
      send_exit(x.handle, caf::exit_reason::kill);
      return true;
    case child::phase::killed:
      if (now() < x.deadline)
        return false;
      probe("supervisor: a child was given up");
      ++abandoned_;
      self_->demonitor(x.handle);
      self_->send(names_, withdraw_name{x.spec.name, x.incarnation});
      tell(event_kind::abandoned, x, caf::exit_reason::kill,
           fmt::format("{}: given up: it is stuck in a handler, and ended neither within {} when told to nor within {} "
                       "when killed", x.spec.name, in_words(x.spec.stop_within), in_words(options_.kill_within)));
      x.handle = {};
      x.now = child::phase::waiting;
      settle(x);
      return true;
  }
  return false;
}

/// `x` does not run (any more), and is not about to be restarted because of that.
void supervisor_state::settle(child& x) {
  x.doomed = false;
  if (!closing_ && !x.forget && x.spec.restart != restart_kind::temporary)
    return;
  answer_requests(x, make_error(errc::escalated, x.spec.name + ": stopped before it could start"));
  children_.remove_if([&](const child& y) { return &x == &y; });
}

void supervisor_state::start(child& x) {
  x.incarnation = ++incarnations_[x.spec.name];
  try {
    x.handle = x.spec.start(self_->system(), {x.spec.name, x.incarnation, names_});
    if (!x.handle) {
      --incarnations_[x.spec.name];
      x.start_at = wake_after(options_.retry_start);
      return;
    }
  } catch (...) {
    const auto reason = to_error(std::current_exception());
    tell(event_kind::ended, x, reason, fmt::format("{}: {}; it could not start", x.spec.name, root_cause(reason)));
    if (!x.started.pending())
      return restart(x, reason);
    // Whoever asked for this child decides what to do about it.
    x.started.deliver(reason);
    x.forget = true;
    return settle(x);
  }
  x.now = child::phase::running;
  self_->monitor(x.handle);
  self_->send(names_, publish_name{{x.spec.name, x.incarnation, x.handle}});
  tell(event_kind::started, x, {}, x.spec.name + ": started");
  if (x.started.pending())
    x.started.deliver(x.handle);
}

/// `failed` has ended by itself or could not be started.
void supervisor_state::restart(child& failed, const caf::error& reason) {
  if (failed.spec.restart == restart_kind::temporary)
    return settle(failed);
  while (!restarts_in_window_.empty() && restarts_in_window_.front() + options_.window <= now())
    restarts_in_window_.pop_front();
  // Neither says anything about the child, which goes on elsewhere.
  const bool blameless = is(reason, errc::node_lost) || is(reason, errc::moved);
  if (is_final(reason) || (!blameless && restarts_in_window_.size() >= options_.intensity))
    return give_up(failed, reason);
  std::chrono::milliseconds delay{0};
  if (blameless) {
    ++restarts_;
    tell(event_kind::restarting, failed, reason, fmt::format("{}: {}", failed.spec.name, root_cause(reason)));
  } else {
    restarts_in_window_.push_back(now());
    const auto count = static_cast<std::uint32_t>(restarts_in_window_.size());
    const backoff policy{options_.backoff_first, options_.backoff_max, options_.jitter, options_.jitter_seed};
    delay = policy.delay(count, restarts_++);
    tell(event_kind::restarting, failed, reason,
         fmt::format("{}: {}; restart {} of at most {} in {}", failed.spec.name, root_cause(reason), count,
                     options_.intensity, in_words(options_.window)), delay);
  }
  const auto start_at = delay.count() > 0 ? wake_after(delay) : now();
  auto concerned = options_.strategy == restart_strategy::one_for_all;
  for (auto& x : children_) {
    concerned = &x == &failed || (concerned && in_order());
    if (!concerned)
      continue;
    if (x.start_at > now())
      probe("supervisor: a restart was widened by another");
    x.start_at = std::max(x.start_at, start_at);
    if (x.handle)
      x.doomed = true;
  }
}

void supervisor_state::give_up(const child& x, const caf::error& reason) {
  // These two begin with the root cause already.
  const auto complete = is_final(reason) || is(reason, errc::escalated);
  const auto cause = complete ? root_cause(reason) : fmt::format("{}: {}", x.spec.name, root_cause(reason));
  const auto hopeless = is_final(reason);
  auto text = cause;
  if (!is(reason, errc::bad_input))  // which is the user's to mend: the tree is none of his business
    text += hopeless ? fmt::format("; supervisor '{}' gave up, since a restart cannot help", options_.name)
                     : fmt::format("; after {} restarts in {} supervisor '{}' gave up", restarts_in_window_.size(),
                                   in_words(options_.window), options_.name);
  const auto end = make_error(hopeless ? static_cast<errc>(reason.code()) : errc::escalated, text);
  tell(event_kind::escalated, x, end, text);
  doom_all(end);
}

void supervisor_state::doom_all(caf::error reason) {
  if (!closing_)
    end_ = std::move(reason);
  closing_ = true;
  for (auto& x : children_)
    x.doomed = true;
}

supervisor_actor::behavior_type supervise(supervisor_actor::stateful_pointer<supervisor_state> self,
                                          const supervisor_options& options, const directory_actor& names,
                                          std::vector<child_spec> children, const caf::actor& listener) {
  return self->state.run(options, names, children, listener);
}

}  // namespace

supervisor_actor spawn_supervisor(caf::actor_system& system, const supervisor_options& options,
                                  directory_actor names, std::vector<child_spec> children, caf::actor listener) {
  if (!names)
    throw std::invalid_argument(fmt::format("supervisor '{}' needs a directory", options.name));
  std::set<std::string> taken;
  for (const auto& spec : children)
    if (!taken.insert(spec.name).second)
      throw std::invalid_argument(fmt::format("supervisor '{}' has two children named '{}'", options.name, spec.name));
  return system.spawn(supervise, options, std::move(names), std::move(children), std::move(listener));
}

}  // namespace troupe
