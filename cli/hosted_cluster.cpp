#include "cli/hosted_cluster.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "cli/command.hpp"
#include "runtime/cluster/node_resources.hpp"
#include "runtime/tensor/cpu/peak.hpp"

namespace troupe {

namespace {

/// Of the processes of a local cluster. Bounds a loop of deaths, not a bad day on a spot market.
constexpr std::uint32_t replacements_max = 60;  // of one process within a minute

}  // namespace

hosted_cluster::hosted_cluster(const cluster_request& request, console& people) : request_(request), people_(people) {
  if (request.listen.empty() && request.min_nodes > request.nodes)
    throw usage_error(fmt::format("--min-nodes {}: with --nodes {} and without --listen there will never be so many\n"
                                  "help: --listen ADDRESS:PORT lets nodes join from elsewhere",
                                  request.min_nodes, request.nodes));
  const auto launched = request.listen.empty() ? launch_environment{} : read_launch_environment();
  where_ = request.listen.empty() ? endpoint_parts{"127.0.0.1", 0}
                                  : parse_endpoint(request.listen, "--listen", launched.port.value_or(default_port));
  access_ = request.access.find();
  secret_is_drawn_ = access_.secret.empty() && request.listen.empty();
  if (secret_is_drawn_)
    access_.secret = draw_secret();
  if (request.listen.empty())
    access_.tls.clear();  // what stays within this machine needs none
  else if (!access_.tls.empty())
    access_.tls = std::filesystem::absolute(access_.tls);
  // Told once the job runs, which is when this network starts.
  job_.carrier = listen_on(where_, access_, request.advertise, [this](const std::string& who) { refusals_.note(who); });
  const auto expected = request.nodes > 0 ? request.nodes : launched.nodes.value_or(1);
  job_.min_nodes = std::max(1u, request.min_nodes > 0 ? request.min_nodes : expected);
  job_.alike = request.listen.empty();
  job_.wait_for_nodes = std::chrono::milliseconds{static_cast<std::int64_t>(request.wait_for_nodes * 1e3)};
  if (request.listen.empty())
    job_.wait_for_memory = {};  // its own nodes end with it, and what they held
  else
    job_.wait_for_memory = std::chrono::milliseconds{static_cast<std::int64_t>(request.recover_within * 1e3)};
}

void hosted_cluster::open(const run_directory& directory, std::function<void(const log_line&)> tell) {
  directory_ = directory.path();
  job_.journal = directory.journal();
  job_.tell = std::move(tell);
  found_by_ = {near_endpoint(), secret_is_drawn_ ? access_.secret : std::string{}, access_.tls.string()};
  found_by_.write(directory_);
  if (!where_.loopback() && access_.tls.empty())
    people_.warn("note: links between machines are authenticated but not encrypted; keep to a network that you trust");
  if (request_.nodes > 0)
    people_.say(fmt::format("a cluster of {} process{} | troupe status {}", request_.nodes,
                            request_.nodes == 1 ? "" : "es", directory_.string()));
  if (!request_.listen.empty())
    people_.say(fmt::format("waiting for {} node{} | troupe node --join {}", job_.min_nodes,
                            job_.min_nodes == 1 ? "" : "s", job_.carrier->endpoint()));
  if (request_.nodes > 0)
    start_processes();
}

hosted_cluster::~hosted_cluster() {
  processes_.reset();
  end_network(job_.carrier);
  if (!directory_.empty())
    found_by_.remove(directory_);
}

std::string hosted_cluster::near_endpoint() const {
  auto near = parse_endpoint(job_.carrier->endpoint(), "--listen");
  near.host = where_.host == "0.0.0.0" ? "127.0.0.1" : where_.host == "::" ? "::1" : where_.host;
  return to_string(near);
}

void hosted_cluster::start_processes() {
  const auto logs = directory_ / "nodes";
  std::filesystem::create_directories(logs);
  const auto own = std::filesystem::read_symlink("/proc/self/exe").string();
  std::vector<process_command> commands;
  process_command one;
  one.words = {own, "node", "--join", near_endpoint(), "--cores",
               fmt::format("{:.3f}", std::max(this_node().cores / request_.nodes, 0.01)), "--speed",
               // Processes of one machine are alike. Beside others, they are as fast as the machine measures alone.
               request_.listen.empty() ? "1" : fmt::format("{:.3f}", measure_fma_peak(1) / 1e9)};
  if (!where_.loopback())  // nodes of other machines must reach these, too
    one.words.insert(one.words.end(), {"--listen", to_string(endpoint_parts{where_.host, 0}), "--advertise",
                                       parse_endpoint(job_.carrier->endpoint(), "--listen").host});
  one.environment = {{"TROUPE_SECRET_FILE", ""}, {"TROUPE_TLS", access_.tls.string()}};
  if (!access_.secret.empty())
    one.environment.emplace_back("TROUPE_SECRET", access_.secret);
  for (std::uint32_t i = 0; i < request_.nodes; ++i) {
    one.log = logs / fmt::format("node-{}.log", i + 1);
    commands.push_back(one);
  }
  local_process_options options;
  options.replacement.max = replacements_max;
  const std::chrono::milliseconds delay{static_cast<std::int64_t>(request_.replace_after * 1e3)};
  options.replacement.delay = {delay, std::max<std::chrono::milliseconds>(delay, std::chrono::seconds{5})};
  options.on_end = [this](const local_process_end& end) {
    if (!end.how.clean())
      job_.tell({.event = "process_ended",
                 .message = fmt::format("node process {} {}; {}", end.id, end.text,
                                        end.replaced_after ? "another is started" : "it is not replaced"),
                 .level = log_level::warn});
  };
  processes_ = std::make_unique<local_processes>(std::move(commands), std::move(options));
}

}  // namespace troupe
