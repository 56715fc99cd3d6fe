#include "cli/reporter.hpp"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "runtime/supervision/errc.hpp"

namespace troupe {

namespace {

/// Whether there is nothing to add about where it happened.
bool says_where(const child_event& event) {
  return event.where.empty() || event.explanation.find(event.where) != std::string::npos;
}

/// Of "node 2"; the head is node 0.
std::uint32_t node_in(const std::string& where) {
  constexpr std::string_view prefix = "node ";
  return where.starts_with(prefix) ? static_cast<std::uint32_t>(std::stoul(where.substr(prefix.size()))) : head_node;
}

}  // namespace

reporter::reporter(console& people, run_directory& run, const options& chosen)
    : people_(people),
      run_(run),
      options_(chosen),
      best_loss_(options_.before.best_loss),
      best_evaluation_(options_.before.best_evaluation) {
  if (options_.energy_joules)
    joules_before_ = options_.energy_joules();
}

job_observer reporter::observer() {
  return {.on_step = [this](const step_report& report) { on_step(report); },
          .on_evaluation = [this](const evaluation_report& report) { on_evaluation(report); },
          .on_cut = [this](const cut_report& report) { on_cut(report); },
          .on_event = [this](const child_event& event) { on_event(event); },
          .on_warning = [this](const std::string& message) { on_warning(message); },
          .on_rollback = [this](std::uint64_t step) { on_rollback(step); },
          .on_restore = [this](const restore_report& report) { on_restore(report); }};
}

throughput reporter::speed(double tokens, double seconds) const {
  if (seconds <= 0.0)
    return {};
  const double rate = tokens / seconds;
  return {rate, options_.peak_flops > 0.0 ? rate * options_.flops_per_token / options_.peak_flops : 0.0, {}};
}

void reporter::on_step(const step_report& report) {
  const auto now = clock::now();
  if (steps_here_ == 0)
    started_ = now;
  ++steps_here_;
  pace_.add(report);
  best_loss_ = std::fmin(best_loss_, report.loss);  // passes over what is not a number
  add_metric(to_json(report, speed(static_cast<double>(report.tokens), report.seconds)));
  people_.show({.step = report.step,
                .steps = options_.steps,
                .loss = report.loss,
                .learning_rate = report.learning_rate,
                .seconds_per_step = pace_.seconds_per_step(),
                .speed = speed(pace_.tokens_per_second(), 1.0),
                .seconds_left = seconds_left(report.step)},
               report.step == options_.steps);
}

/// At the pace so far, evaluations included.
double reporter::seconds_left(std::uint64_t step) {
  const double elapsed = std::chrono::duration<double>(clock::now() - started_).count();
  const double pace = steps_here_ > 1 ? elapsed / static_cast<double>(steps_here_ - 1) : pace_.seconds_per_step();
  return pace * static_cast<double>(options_.steps - std::min(step, options_.steps));
}

void reporter::on_evaluation(const evaluation_report& report) {
  const bool best = is_better(report, best_evaluation_);
  if (best)
    best_evaluation_ = report;
  add_metric(to_json(report));
  people_.say({.event = "evaluation", .message = format_evaluation(report, best)});
}

void reporter::on_cut(const cut_report& report) {
  add_metric(to_json(report));
  people_.say({.event = "cut", .message = format_cut(report)});
}

void reporter::on_event(const child_event& event) {
  add_event(to_json(event));
  log_line line{.node = node_in(event.where), .actor = event.child, .incarnation = event.incarnation};
  using kind = child_event::kind;
  // Starts and stops are the ordinary course of things.
  if (event.what == kind::restarting && is(event.reason, errc::moved)) {
    line.event = "moves";
    line.message = fmt::format("move | {} leaves {}", event.child, event.where);
  } else if (event.what == kind::restarting) {
    line.event = "restarts";
    line.message = says_where(event) ? "restart | " + event.explanation
                                     : fmt::format("restart | {} (it was on {})", event.explanation, event.where);
  } else if (event.what == kind::escalated && is(event.reason, errc::bad_input)) {
    return;  // the command ends with these words
  } else if (event.what == kind::escalated) {
    line.event = "escalated";
    line.message = fmt::format("warning: {} gave up: {}", event.supervisor, event.explanation);
    line.level = log_level::warn;
  } else if (event.what == kind::abandoned) {
    line.event = "stuck";
    line.message = fmt::format("warning: {} does not end: {}", event.child, event.explanation);
    line.level = log_level::warn;
  } else {
    return;
  }
  people_.say(std::move(line));
}

void reporter::on_cluster(const log_line& line) {
  add_event(to_json(line));
  people_.say(line);
}

void reporter::on_warning(const std::string& message) {
  add_event(warning_json(message));
  people_.warn("warning: " + message);
}

void reporter::on_rollback(std::uint64_t step) {
  add_event(rollback_json(step));
  people_.say({.event = "rollback", .message = fmt::format("rolled back to step {}", step)});
}

void reporter::on_restore(const restore_report& report) {
  add_event(to_json(report));
  if (report.source != restore_source::own_memory)  // that is a rollback like any other
    people_.say(
        fmt::format("restored | shard/{} at step {} from {}", report.shard, report.step, describe(report.source)));
}

void reporter::finish(job_summary summary) {
  options_.before.complete(summary);
  auto overall = speed(static_cast<double>(summary.tokens), summary.seconds);
  if (const auto joules = joules_before_ ? options_.energy_joules() : std::nullopt; joules && summary.tokens > 0)
    overall.joules_per_token = (*joules - *joules_before_) / static_cast<double>(summary.tokens);
  const auto line = to_json(summary, overall, best_loss_);
  run_.write_summary(line);
  people_.say({.event = "done", .message = format_summary(summary, overall)});
  const std::lock_guard lock(mutex_);
  tell(line);
}

void reporter::fail(const nlohmann::json& failure) {
  const std::lock_guard lock(mutex_);
  check_written(run_.add_event(failure));
}

void reporter::add_metric(const nlohmann::json& line) {
  const std::lock_guard lock(mutex_);
  tell(line);
  check_written(run_.add_metric(line));
}

void reporter::add_event(const nlohmann::json& line) {
  const std::lock_guard lock(mutex_);
  tell(line);
  check_written(run_.add_event(line));
}

void reporter::tell(const nlohmann::json& line) {
  if (!options_.json || tell_machine(line) || std::exchange(output_failed_, true) || errno == EPIPE)
    return;  // of a reader that has left SIGPIPE tells
  people_.warn(fmt::format("warning: standard output cannot be written: {}; {} has the same lines",
                           std::strerror(errno), run_.path().string()));
}

/// Losing lines is no reason to lose a run.
void reporter::check_written(bool written) {
  if (!written && !write_failed_) {
    write_failed_ = true;
    people_.warn(fmt::format("warning: {}: metrics or events cannot be written any more", run_.path().string()));
  }
}

}  // namespace troupe
