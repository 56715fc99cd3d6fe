#include "actors/step_ledger.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace troupe {

namespace {

/// Sorts ranges and makes one of those that touch.
void join(std::vector<sample_range>& ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<sample_range> joined;
  for (const auto& each : ranges)
    if (!joined.empty() && joined.back().first + joined.back().count == each.first)
      joined.back().count += each.count;
    else
      joined.push_back(each);
  ranges = std::move(joined);
}

}  // namespace

void step_ledger::restart(std::uint64_t step) {
  reports_.assign(reports_.size(), {});
  results_.clear();
  next_ = step;
  begin_ = clock::now();
}

void step_ledger::note(const shard_report& report) {
  reports_[report.shard] = report;
  if (report.shard == 0)
    for (const auto& result : report.results)
      if (result.step >= next_)
        results_[result.step][result.lane] = result;
}

bool step_ledger::reported_all() const {
  return std::all_of(reports_.begin(), reports_.end(), [](const auto& report) { return report.has_value(); });
}

std::uint64_t step_ledger::steps_done() const {
  auto done = std::numeric_limits<std::uint64_t>::max();
  for (const auto& report : reports_)
    done = std::min(done, report->steps_done);
  return done;
}

std::optional<step_report> step_ledger::next() {
  if (!reported_all() || next_ >= steps_done())
    return {};
  step_report report;
  report.step = next_ + 1;
  double loss_sum = 0.0;
  for (const auto& [lane, result] : results_[next_]) {
    const double loss = result.losses.sum();
    loss_sum += loss;
    if (!std::isfinite(loss) && !report.diverged_lane)
      report.diverged_lane = lane;
    report.tokens += result.targets;
    report.samples.insert(report.samples.end(), result.samples.begin(), result.samples.end());
  }
  join(report.samples);
  results_.erase(next_++);
  report.loss = loss_sum / static_cast<double>(std::max<std::int64_t>(report.tokens, 1));
  report.learning_rate = reports_[0]->last.learning_rate;
  report.gradient_norm = reports_[0]->last.gradient_norm.sum();
  for (const auto& each : reports_)
    report.staleness_max = std::max(report.staleness_max, each->staleness);
  const auto now = clock::now();
  report.seconds = std::chrono::duration<double>(now - begin_).count();
  begin_ = now;
  return report;
}

std::string step_ledger::describe() const {
  std::string text = "shards at step";
  for (const auto& report : reports_)
    text += report ? fmt::format(" {}", report->steps_done) : " (none)";
  return text;
}

}  // namespace troupe
