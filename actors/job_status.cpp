#include "actors/job_status.hpp"

#include <ctime>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "runtime/supervision/errc.hpp"

namespace troupe {

namespace {

template <class Outer, class Inner>
auto both(Outer first, Inner second) {
  return [first, second](const auto& what) {
    first(what);
    if (second)
      second(what);
  };
}

}  // namespace

job_observer job_status::listen(job_observer observer) {
  auto result = observer;
  result.on_step = both([this](const step_report& report) { note(report); }, observer.on_step);
  result.on_event = both([this](const child_event& event) { note(event); }, observer.on_event);
  result.on_cut = both(
      [this](const cut_report& report) {
        const std::lock_guard lock(mutex_);
        last_cut_step_ = report.step;
      },
      observer.on_cut);
  result.on_rollback = both(
      [this](std::uint64_t step) {
        const std::lock_guard lock(mutex_);
        ++rollbacks_;
        step_ = step;
      },
      observer.on_rollback);
  result.on_restore = both(
      [this](const restore_report& report) {
        const std::lock_guard lock(mutex_);
        ++restored_[report.source];
      },
      observer.on_restore);
  return result;
}

void job_status::note(const step_report& report) {
  const std::lock_guard lock(mutex_);
  step_ = report.step;
  loss_ = report.loss;
  pace_.add(report);
  last_step_at_ = std::chrono::steady_clock::now();
}

void job_status::note(const child_event& event) {
  const std::lock_guard lock(mutex_);
  auto& actor = actors_[event.child];
  switch (event.what) {
    case child_event::kind::started:
      actor = {"running", event.where, event.incarnation};
      return;
    case child_event::kind::restarting:
      actor.state = is(event.reason, errc::moved) ? "moving" : "restarting";
      return;
    case child_event::kind::stopped:
      actor.state = "stopped";
      return;
    case child_event::kind::abandoned:
    case child_event::kind::escalated:
    case child_event::kind::ended:
      if (is(event.reason, errc::moved))
        return;  // it was asked to
      actor.state = event.what == child_event::kind::abandoned ? "abandoned" : "ended";
      failures_.push_back({std::chrono::system_clock::now(), event.child, event.explanation});
      if (failures_.size() > failures_max)
        failures_.pop_front();
      return;
  }
}

void job_status::note_stuck(const std::string& actor, bool stuck) {
  const std::lock_guard lock(mutex_);
  actors_[actor].state = stuck ? "stuck" : "running";
}

std::string job_status::to_json() const {
  const std::lock_guard lock(mutex_);
  nlohmann::json actors = nlohmann::json::array(), failures = nlohmann::json::array();
  for (const auto& [name, actor] : actors_)
    actors.push_back({{"name", name},
                      {"state", actor.state},
                      {"incarnation", actor.incarnation},
                      {"restarts", actor.incarnation > 0 ? actor.incarnation - 1 : 0},
                      {"where", actor.where}});
  for (const auto& each : failures_)
    failures.push_back({{"time", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                                             fmt::gmtime(std::chrono::system_clock::to_time_t(each.at)))},
                        {"actor", each.actor},
                        {"reason", each.reason}});
  const std::chrono::duration<double> idle = std::chrono::steady_clock::now() - last_step_at_;
  const nlohmann::json all{{"step", step_},
                           {"loss", loss_},
                           {"seconds_per_step", pace_.seconds_per_step()},
                           {"tokens_per_second", pace_.tokens_per_second()},
                           {"seconds_since_step", idle.count()},
                           {"rollbacks", rollbacks_},
                           {"restored", by_name(restored_)},
                           {"last_cut_step", last_cut_step_},
                           {"actors", std::move(actors)},
                           {"failures", std::move(failures)}};
  return all.dump();
}

}  // namespace troupe
