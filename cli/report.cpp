#include "cli/report.hpp"

#include <sys/resource.h>

#include <chrono>
#include <cstdio>

#include <fmt/format.h>

namespace troupe {

namespace {

using nlohmann::json;

std::string_view name_of(child_event::kind what) {
  switch (what) {
    case child_event::kind::started: return "started";
    case child_event::kind::ended: return "ended";
    case child_event::kind::restarting: return "restarting";
    case child_event::kind::stopped: return "stopped";
    case child_event::kind::escalated: return "escalated";
    case child_event::kind::abandoned: return "abandoned";
  }
  return "unknown";
}

std::string utc_now() { return utc_text(std::chrono::system_clock::now()); }

json optional_json(const std::optional<evaluation_report>& report) {
  return report ? to_json(*report) : json(nullptr);
}

}  // namespace

json to_json(const step_report& report, const throughput& speed) {
  auto samples = json::array();
  for (const auto& range : report.samples)
    samples.push_back({range.first, range.count});
  return {{"kind", "step"},
          {"step", report.step},
          {"loss", report.loss},
          {"learning_rate", report.learning_rate},
          {"gradient_norm", report.gradient_norm},
          {"tokens", report.tokens},
          {"seconds", report.seconds},
          {"tokens_per_second", speed.tokens_per_second},
          {"peak_ratio", speed.peak_ratio},
          {"staleness_max", report.staleness_max},
          {"samples", std::move(samples)}};
}

json to_json(const evaluation_report& report) {
  return {{"kind", "evaluation"},
          {"step", report.step},
          {"train_loss", report.train_loss},
          {"validation_loss", report.validation_loss},
          {"seconds", report.seconds}};
}

json to_json(const cut_report& report) {
  return {{"kind", "cut"},
          {"step", report.step},
          {"path", report.path.string()},
          {"size_bytes", report.size_bytes},
          {"pause_seconds", report.pause_seconds},
          {"write_seconds", report.write_seconds}};
}

json to_json(const child_event& event) {
  json line{{"kind", name_of(event.what)},
            {"time", utc_now()},
            {"supervisor", event.supervisor},
            {"actor", event.child},
            {"incarnation", event.incarnation},
            {"reason", event.explanation},
            {"delay_seconds", static_cast<double>(event.delay.count()) / 1e3}};
  if (!event.where.empty())
    line["where"] = event.where;
  return line;
}

json rollback_json(std::uint64_t step) { return {{"kind", "rollback"}, {"time", utc_now()}, {"step", step}}; }

json to_json(const restore_report& report) {
  return {{"kind", "restored"},
          {"time", utc_now()},
          {"actor", fmt::format("shard/{}", report.shard)},
          {"step", report.step},
          {"from", to_string(report.source)}};
}

json to_json(const log_line& of_the_cluster) {
  json line{{"kind", "cluster"},
            {"time", utc_now()},
            {"event", of_the_cluster.event},
            {"message", of_the_cluster.message}};
  if (of_the_cluster.node)
    line["node"] = *of_the_cluster.node;
  return line;
}

json warning_json(const std::string& message) {
  return {{"kind", "warning"}, {"time", utc_now()}, {"message", message}};
}

json failure_json(const std::string& message) {
  return {{"kind", "failure"}, {"time", utc_now()}, {"message", message}};
}

json to_json(const job_summary& summary, const throughput& speed, double best_loss) {
  json shards = json::array();
  for (const auto& shard : summary.shards)
    shards.push_back({{"shard", shard.shard},
                      {"version", shard.version},
                      {"applied", shard.applied},
                      {"duplicates_dropped", shard.duplicates_dropped},
                      {"stale_dropped", shard.stale_dropped}});
  json line{{"kind", "summary"},
            {"first_step", summary.first_step},
            {"steps", summary.steps},
            {"tokens", summary.tokens},
            {"seconds", summary.seconds},
            {"tokens_per_second", speed.tokens_per_second},
            {"peak_ratio", speed.peak_ratio},
            {"last_loss", summary.last_loss},
            {"best_loss", best_loss},
            {"last_evaluation", optional_json(summary.last_evaluation)},
            {"best_evaluation", optional_json(summary.best_evaluation)},
            {"killed", summary.killed},
            {"restarts", summary.restarts},
            {"rollbacks", summary.rollbacks},
            {"replays", summary.replays},
            {"restored", by_name(summary.restored)},
            {"shards", std::move(shards)},
            {"fingerprint", summary.fingerprint},
            {"interrupted", summary.interrupted},
            {"last_cut", summary.last_cut.string()},
            {"peak_memory_bytes", peak_memory_bytes()}};
  if (speed.joules_per_token)
    line["joules_per_token"] = *speed.joules_per_token;
  return line;
}

bool tell_machine(const json& line) {
  if (std::ferror(stdout) != 0)  // nobody reads it any more, or its disk is full: main tells
    return false;
  const auto text = line.dump(-1, ' ', false, json::error_handler_t::replace) + '\n';
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
}

std::size_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

}  // namespace troupe
