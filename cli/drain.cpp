#include <chrono>
#include <memory>
#include <string>

#include <fmt/format.h>

#include "cli/argument_checks.hpp"
#include "cli/cluster_question.hpp"
#include "cli/command.hpp"

namespace troupe {

namespace {

struct drain_options {
  std::string where;
  std::string node;
  access_options access;
  double within = drain_within_default;
};

exit_code drain(const drain_options& options) {
  introduction wish;
  wish.what = introduction::kind::drain;
  wish.target = options.node;
  wish.within = std::chrono::milliseconds{static_cast<std::int64_t>(options.within * 1e3)};
  fmt::print("{}\n", cluster_question(options.where, options.access).ask(wish));
  return exit_code::done;
}

}  // namespace

void add_drain(CLI::App& app, action& chosen) {
  const auto options = std::make_shared<drain_options>();
  auto* command = app.add_subcommand("drain", "have a node leave a run as SIGTERM to it does: its work moves, nothing is lost");
  command->add_option("WHERE", options->where, cluster_question::where_help);
  command->add_option("--node", options->node,
                      "asked of the head: the node's number, host or endpoint, as `troupe status` shows them; default: the "
                      "node that is asked");
  command->add_option("--within", options->within, "seconds it may take, at most")
      ->check(from_to(0, drain_within_max))
      ->capture_default_str();
  options->access.add_to(*command);
  command->callback([&chosen, options] { chosen = [options] { return drain(*options); }; });
}

}  // namespace troupe
