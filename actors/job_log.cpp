#include "actors/job_log.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "actors/divergence.hpp"
#include "runtime/error.hpp"
#include "runtime/supervision/errc.hpp"

namespace troupe {

namespace {

std::vector<std::string> killable(const job_context& context) {
  std::vector<std::string> names;
  for (std::uint32_t i = 0; i < context.layout.shard_count(); ++i)
    names.push_back(fmt::format("shard/{}", i));
  for (std::uint32_t i = 0; i < context.lanes(); ++i) {
    names.push_back(fmt::format("replica/{}", i));
    names.push_back(fmt::format("loader/{}", i));
  }
  return names;
}

template <class F, class... Ts>
void tell(const F& observer, const Ts&... what) {
  if (observer)
    observer(what...);
}

double score_of(const evaluation_report& report) {
  return std::isnan(report.validation_loss) ? report.train_loss : report.validation_loss;
}

}  // namespace

bool is_better(const evaluation_report& one, const std::optional<evaluation_report>& other) {
  return std::isfinite(score_of(one)) && (!other || score_of(one) < score_of(*other));
}

job_log::job_log(const job_context& context, job_observer observer)
    : observer_(std::move(observer)),
      settings_(context.settings),
      chaos_(context.settings.chaos, killable(context)),
      lane_next_(context.lanes(), 0),
      tallies_(context.layout.shard_count()) {
  for (std::uint32_t i = 0; i < context.layout.shard_count(); ++i) {
    summary_.shards.emplace_back();
    summary_.shards.back().shard = i;
  }
}

void job_log::step(const step_report& report) {
  if (report.step > furthest_) {
    furthest_ = report.step;
    fruitless_restarts_ = 0;
  }
  summary_.steps = report.step;
  summary_.last_loss = report.loss;
  pace_.add(report);
  summary_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - *begin_).count();
  tell(observer_.on_step, report);
  check(divergence_in(report));
}

void job_log::evaluation(const evaluation_report& report) {
  summary_.last_evaluation = report;
  if (is_better(report, summary_.best_evaluation))
    summary_.best_evaluation = report;
  tell(observer_.on_evaluation, report);
  check(divergence_in(report));
}

void job_log::check(const std::optional<std::string>& divergence) {
  if (!divergence)
    return;
  const auto help = help_against_divergence(settings_);
  if (settings_.training.on_divergence == divergence_response::warn) {
    if (!std::exchange(warned_, true))
      warning(fmt::format("{}, and goes on since training.on_divergence = \"warn\"; {}", *divergence, help));
    return;
  }
  const bool has_cut = !summary_.last_cut.empty() || summary_.first_step > 0;
  divergence_ = fmt::format("{}\nhelp: {}{}; training.on_divergence=warn goes on regardless", *divergence, help,
                            has_cut ? "; --resume goes on from the last cut, which is from before" : "");
  throw input_error(*divergence);
}

void job_log::cut(const cut_report& report) {
  summary_.last_cut = report.path;
  tell(observer_.on_cut, report);
}

void job_log::event(const child_event& event) {
  if (event.what == child_event::kind::started && event.incarnation > 1)
    ++summary_.restarts;
  const auto& reason = event.reason;
  const bool says_nothing = is(reason, errc::node_lost) || is(reason, errc::moved) || is(reason, errc::killed_by_chaos);
  if (event.what == child_event::kind::restarting && !says_nothing)
    ++fruitless_restarts_;
  if (event.what == child_event::kind::ended && reason && !says_nothing && !is(reason, errc::escalated) &&
      !is(reason, errc::hopeless))
    last_failure_ = reason;
  tell(observer_.on_event, event);
}

void job_log::cut_failed(const std::string& message) {
  last_failure_ = make_error(errc::system_failure, message);
  warning(message);
}

void job_log::warning(const std::string& message) { tell(observer_.on_warning, message); }

void job_log::restored(std::uint64_t step) {
  if (begin_) {
    if (step == summary_.steps)
      return;  // shards moved, or died, right at a cut
    ++summary_.rollbacks;
    summary_.steps = step;
    tell(observer_.on_rollback, step);
    return;
  }
  begin_ = std::chrono::steady_clock::now();
  summary_.first_step = summary_.steps = step;
  std::fill(lane_next_.begin(), lane_next_.end(), step);
}

void job_log::restored(const restore_report& report) {
  ++summary_.restored[report.source];
  tell(observer_.on_restore, report);
}

void job_log::computed(std::uint32_t lane, std::uint64_t step, std::int64_t tokens) {
  summary_.tokens += static_cast<std::uint64_t>(tokens);
  if (step < lane_next_[lane])
    ++summary_.replays;
  else
    lane_next_[lane] = step + 1;
}

void job_log::shard(const shard_report& report, std::uint64_t incarnation) {
  tell(observer_.on_update, report);
  auto& tally = tallies_[report.shard];
  auto& counters = summary_.shards[report.shard];
  if (incarnation != tally.incarnation)
    tally = {incarnation, 0, 0};
  counters.version = report.version;
  counters.applied = report.applied;
  counters.duplicates_dropped += report.duplicates_dropped - tally.duplicates;
  counters.stale_dropped += report.stale_dropped - tally.stale;
  tally.duplicates = report.duplicates_dropped;
  tally.stale = report.stale_dropped;
}

void job_log::finished(std::string fingerprint, bool interrupted) {
  summary_.fingerprint = std::move(fingerprint);
  summary_.interrupted = interrupted;
}

}  // namespace troupe
