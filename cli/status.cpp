#include <future>
#include <iostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/cluster_access.hpp"
#include "cli/command.hpp"
#include "cli/progress.hpp"
#include "runtime/cluster/environment.hpp"
#include "runtime/cluster/introduction.hpp"
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

json ask(const std::string& endpoint, const cluster_access& access) {
  auto carrier = listen_on({"127.0.0.1", 0}, access, {});
  carrier->start({[](link_id, const std::string&) { return introduction_reply{false, "this process only asks"}; },
                  [](link_id, parcel) {}, [](link_id, const std::string&) {}});
  std::promise<dial_result> answered;
  carrier->dial(endpoint, encode(introduction{}), [&](const dial_result& result) { answered.set_value(result); });
  const auto answer = answered.get_future().get();
  end_network(carrier);
  auto found = json::parse(answer.text, nullptr, false);
  if (answer.refused)
    throw input_error(answer.text);
  if (!found.is_object())
    throw system_error(answer.text);
  return found;
}

bool is_of_node(const json& status) { return status.contains("state"); }

void print_node(const json& status) {
  const auto number = status["node"].is_null() ? std::string{"a node"} : fmt::format("node {}", status["node"].get<int>());
  fmt::print("{} | {} | head {}\n", number, status["state"].get<std::string>(), status["head"].get<std::string>());
  for (const auto& actor : status["actors"])
    fmt::print("{:<20} incarnation {}\n", actor["name"].get<std::string>(), actor["incarnation"].get<std::uint64_t>());
}

void print(const json& status) {
  const auto& job = status["job"];
  fmt::print("step {} | loss {:.4f} | {:.1f} ms a step | {} tok/s | {} rolled back | last cut at step {}\n",
             job["step"].get<std::uint64_t>(), job["loss"].get<double>(), job["seconds_per_step"].get<double>() * 1e3,
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
  if (!job["failures"].empty())
    fmt::print("\nrecent failures, root cause first\n");
  for (const auto& failure : job["failures"])
    fmt::print("{}  {}\n", failure["time"].get<std::string>(), failure["reason"].get<std::string>());
}

exit_code show(const status_options& options) {
  std::optional<cluster_file> found;
  if (!options.where.empty())
    found = cluster_file::read(options.where);
  if (!found && (options.where.find('/') != std::string::npos || std::filesystem::is_directory(options.where)))
    throw input_error(fmt::format("{}: no run on a cluster is going on here\nhelp: give the directory of a run that "
                                  "`troupe train` runs on nodes now, or HOST:PORT of its head",
                                  options.where));
  auto access = options.access.find();
  if (found && !found->secret.empty())
    access.secret = found->secret;
  if (found && options.access.tls.empty())
    access.tls = found->tls;
  std::string endpoint;
  if (found) {
    endpoint = found->endpoint;
  } else if (!options.where.empty()) {
    endpoint = to_string(parse_endpoint(options.where, "ADDRESS"));
  } else {
    endpoint = read_launch_environment().head.value_or(fmt::format("127.0.0.1:{}", default_port));
  }
  const auto status = [&] {
    try {
      return ask(endpoint, access);
    } catch (const system_error& fault) {
      if (!found)
        throw;
      throw system_error(fmt::format("{}: its head does not answer: {}\nhelp: where its process was killed, `troupe train "
                                     "--resume` goes on from the last cut",
                                     options.where, fault.what()));
    }
  }();
  if (options.json)
    fmt::print("{}\n", status.dump(2));
  else if (is_of_node(status))
    print_node(status);
  else
    print(status);
  // A head is there for those who join as soon as it answers.
  if (options.ready && is_of_node(status) && status["state"] != "ready")
    throw system_error(fmt::format("{}: the node is not ready: its state is '{}'", endpoint,
                                   status["state"].get<std::string>()));
  return exit_code::done;
}

}  // namespace

void add_status(CLI::App& app, action& chosen) {
  const auto options = std::make_shared<status_options>();
  auto* command = app.add_subcommand("status", "nodes, actors, throughput and failures of a run on a cluster");
  command->add_option("WHERE", options->where,
                      "HOST:PORT of the head or of a node, or the directory of a run on this machine; default: the head "
                      "as nodes find it");
  options->access.add_to(*command);
  command->add_flag("--ready", options->ready, "for probes: fail where it is a node that does not take part in a job (yet)");
  command->add_flag("--json", options->json, "as JSON; cli/README.md describes it");
  command->callback([&chosen, options] { chosen = [options] { return show(*options); }; });
}

}  // namespace troupe
