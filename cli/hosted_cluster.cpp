#include "cli/hosted_cluster.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "runtime/cluster/node_resources.hpp"

namespace troupe {

namespace {

/// Of the processes of a local cluster. Bounds a loop of deaths, not a bad day on a spot market.
constexpr std::uint32_t replacements_max = 60;  // of one process within a minute
constexpr std::chrono::milliseconds replaced_after{500};

}  // namespace

hosted_cluster::hosted_cluster(const cluster_request& request, console& people, const run_directory& directory)
    : people_(people), directory_(directory.path()) {
  auto access = request.access.find();
  const bool drawn = access.secret.empty() && request.listen.empty();
  if (drawn)
    access.secret = draw_secret();
  if (request.listen.empty())
    access.tls.clear();  // what stays within this machine needs none
  else if (!access.tls.empty())
    access.tls = std::filesystem::absolute(access.tls);
  const auto where = request.listen.empty() ? endpoint_parts{"127.0.0.1", 0} : parse_endpoint(request.listen, "--listen");
  job_.carrier = listen_on(where, access, request.advertise);
  job_.min_nodes = std::max(1u, request.min_nodes > 0 ? request.min_nodes : request.nodes);
  job_.tell = [&people](const std::string& line) { people.say(line); };
  const auto own_secret = drawn ? access.secret : std::string{};
  cluster_file{job_.carrier->endpoint(), own_secret, access.tls.string()}.write(directory_);
  if (!where.loopback() && access.tls.empty())
    people.warn("note: links between machines are authenticated but not encrypted; keep to a network that you trust");
  people.say(request.listen.empty()
                 ? fmt::format("a cluster of {} processes | troupe status {}", request.nodes, directory_.string())
                 : fmt::format("waiting for {} nodes | troupe node --join {}", job_.min_nodes, job_.carrier->endpoint()));
  if (request.nodes > 0)
    start_processes(request, access);
}

hosted_cluster::~hosted_cluster() {
  processes_.reset();
  end_network(job_.carrier);
  cluster_file::remove(directory_);
}

void hosted_cluster::start_processes(const cluster_request& request, const cluster_access& access) {
  const auto logs = directory_ / "nodes";
  std::filesystem::create_directories(logs);
  const auto own = std::filesystem::read_symlink("/proc/self/exe").string();
  const auto endpoint = job_.carrier->endpoint();
  const auto port = endpoint.substr(endpoint.rfind(':') + 1);
  std::vector<process_command> commands;
  for (std::uint32_t i = 0; i < request.nodes; ++i)
    commands.push_back({{own, "node", "--join", "127.0.0.1:" + port, "--cores",
                         fmt::format("{:.3f}", std::max(this_node().cores / request.nodes, 0.01)), "--speed", "1"},
                        {{"TROUPE_SECRET", access.secret},
                         {"TROUPE_SECRET_FILE", ""},
                         {"TROUPE_TLS", access.tls.string()}},
                        logs / fmt::format("node-{}.log", i + 1)});
  local_process_options options;
  options.replacement.max = replacements_max;
  options.replacement.delay = {replaced_after, std::chrono::seconds{5}};
  options.on_end = [this](const local_process_end& end) {
    if (!end.how.clean())
      people_.say(fmt::format("node process {} {}{}", end.id, end.text,
                              end.replaced_after ? "; another is started" : "; it is not replaced"));
  };
  processes_ = std::make_unique<local_processes>(std::move(commands), std::move(options));
}

}  // namespace troupe
