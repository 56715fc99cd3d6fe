#include <algorithm>
#include <filesystem>
#include <optional>
#include <ranges>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/cluster_question.hpp"
#include "cli/command.hpp"
#include "cli/progress.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

using nlohmann::json;

struct status_options {
  std::string where;
  access_options access;
  bool json = false;
  bool ready = false;
};

bool is_of_node(const json& status) { return status.contains("state"); }

void print_node(const json& status) {
  const auto number = status["node"].is_null() ? std::string{"a node"} : fmt::format("node {}", status["node"].get<int>());
  fmt::print("{} | {} | head {}\n", number, status["state"].get<std::string>(), status["head"].get<std::string>());
  for (const auto& actor : status["actors"])
    fmt::print("{:<20} incarnation {}\n", actor["name"].get<std::string>(), actor["incarnation"].get<std::uint64_t>());
}

/// JSON knows no numbers that are not finite: they are null there.
std::string loss_of(const json& job) {
  return job["loss"].is_null() ? "not finite" : fmt::format("{:.4f}", job["loss"].get<double>());
}

/// The same reason again and again is one line, at the time of the last.
void print_failures(const json& failures) {
  std::vector<std::pair<json, int>> grouped;
  for (auto latest = failures.rbegin(); latest != failures.rend(); ++latest) {
    const auto known = std::ranges::find_if(grouped, [&](const auto& each) { return each.first["reason"] == (*latest)["reason"]; });
    if (known == grouped.end())
      grouped.emplace_back(*latest, 1);
    else
      ++known->second;
  }
  if (!grouped.empty())
    fmt::print("\nrecent failures, root cause first\n");
  for (const auto& [failure, times] : std::views::reverse(grouped))
    fmt::print("{}  {}{}\n", failure["time"].get<std::string>(), failure["reason"].get<std::string>(),
               times > 1 ? fmt::format("  ({} times, the last then)", times) : "");
}

void print(const json& status) {
  const auto& job = status["job"];
  fmt::print("step {} | loss {} | {:.1f} ms a step | {} tok/s | {} rolled back | last cut at step {}\n",
             job["step"].get<std::uint64_t>(), loss_of(job), job["seconds_per_step"].get<double>() * 1e3,
             format_quantity(job["tokens_per_second"].get<double>()), job["rollbacks"].get<std::uint64_t>(),
             job["last_cut_step"].get<std::uint64_t>());
  if (const auto& problem = status["unplaced"].get_ref<const std::string&>(); !problem.empty())
    fmt::print("there is no room: {}\n", problem);
  std::string restored;
  for (const auto& [source, count] : job["restored"].items())
    if (count != 0)
      restored += fmt::format(" | {} {}", source, count.get<std::uint64_t>());
  if (!restored.empty())
    fmt::print("shards restored{}\n", restored);
  fmt::print("\n{:<5} {:<8} {:<24} {:>8} {:>6}  {}\n", "node", "state", "endpoint", "process", "cores", "");
  for (const auto& node : status["nodes"])
    fmt::print("{:<5} {:<8} {:<24} {:>8} {:>6.1f}  {}\n", node["node"].get<int>(), node["state"].get<std::string>(),
               node["endpoint"].get<std::string>(), node["resources"]["process_id"].get<std::int64_t>(),
               node["resources"]["cores"].get<double>(), node["evidence"].get<std::string>());
  fmt::print("\n{:<20} {:<10} {:>11} {:>8}  {}\n", "actor", "state", "incarnation", "restarts", "where");
  for (const auto& actor : job["actors"])
    fmt::print("{:<20} {:<10} {:>11} {:>8}  {}\n", actor["name"].get<std::string>(), actor["state"].get<std::string>(),
               actor["incarnation"].get<int>(), actor["restarts"].get<int>(), actor["where"].get<std::string>());
  print_failures(job["failures"]);
}

exit_code show(const status_options& options) {
  const cluster_question question(options.where, options.access);
  const auto answer = question.ask({});
  const auto status = json::parse(answer, nullptr, false);
  if (!status.is_object())
    throw system_error(answer);
  if (options.json)
    fmt::print("{}\n", status.dump(2));
  else if (is_of_node(status))
    print_node(status);
  else
    print(status);
  // A head is there for those who join as soon as it answers.
  if (options.ready && is_of_node(status) && status["state"] != "ready")
    throw system_error(fmt::format("{}: the node is not ready: its state is '{}'", question.endpoint(),
                                   status["state"].get<std::string>()));
  return exit_code::done;
}

}  // namespace

void add_status(CLI::App& app, action& chosen) {
  const auto options = std::make_shared<status_options>();
  auto* command = app.add_subcommand("status", "nodes, actors, throughput and failures of a run on a cluster");
  command->add_option("WHERE", options->where, cluster_question::where_help);
  options->access.add_to(*command);
  command->add_flag("--ready", options->ready, "for probes: fail where it is a node that does not take part in a job (yet)");
  command->add_flag("--json", options->json, "as JSON; cli/README.md describes it");
  command->callback([&chosen, options] { chosen = [options] { return show(*options); }; });
}

}  // namespace troupe
