#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/argument_checks.hpp"
#include "cli/cluster_question.hpp"
#include "cli/command.hpp"
#include "runtime/cluster/board.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

using nlohmann::json;

struct drain_options {
  std::string where;
  std::string node;
  access_options access;
  double within = drain_within_default;
  std::optional<double> wait;
};

constexpr std::chrono::milliseconds look_every{200};
/// Beyond --within: for the process to end, and for its end to be noticed.
constexpr double wait_beyond_seconds = 10.0;

/// Of a node that was asked itself, it cannot be told whether it was let go.
constexpr const char* silent_evidence = "it does not answer any more";

/// Why a node is no member any more, as whoever was asked to drain it knows; nothing: it still is one. The head tells of
/// all its nodes, and a node of itself, for as long as it answers.
std::optional<std::string> end_of(node_id node, const cluster_question& question, bool is_head) {
  if (!is_head)
    try {
      const auto status = json::parse(question.ask({}));
      return status["node"] == node ? std::nullopt : std::optional<std::string>(let_go_evidence);
    } catch (const system_error&) {
      return silent_evidence;
    }
  try {
    const auto status = json::parse(question.ask({}));
    for (const auto& each : status["nodes"])
      if (each["node"] == node)
        return each["state"] == "gone" ? std::optional(each["evidence"].get<std::string>()) : std::nullopt;
    return let_go_evidence;  // long ago
  } catch (const system_error& fault) {
    throw system_error(fmt::format("whether node {} has left is not known: {}", node, fault.what()));
  }
}

/// Throws system_error where it is still there after `most_seconds`, or was lost rather than drained.
void wait_for_end(node_id node, const cluster_question& question, bool is_head, double most_seconds) {
  using clock = std::chrono::steady_clock;
  const auto begin = clock::now();
  for (;; std::this_thread::sleep_for(look_every)) {
    const auto end = end_of(node, question, is_head);
    const auto seconds = std::chrono::duration<double>(clock::now() - begin).count();
    if (end == let_go_evidence || end == silent_evidence) {
      fmt::print("node {} is gone after {:.1f} s: {}\n", node, seconds, *end);
      return;
    }
    if (end)
      throw system_error(fmt::format("node {} is gone, but was not let go: {}", node, *end));
    if (seconds > most_seconds)
      throw system_error(fmt::format("node {} is still there after {:g} s\nhelp: `troupe status` tells what lives there, and "
                                     "whether others have room for it; --wait SECONDS waits for longer",
                                     node, most_seconds));
  }
}

exit_code drain(const drain_options& options) {
  introduction wish;
  wish.what = introduction::kind::drain;
  wish.target = options.node;
  wish.within = std::chrono::milliseconds{static_cast<std::int64_t>(options.within * 1e3)};
  const cluster_question question(options.where, options.access);
  const auto answer = decode_drain_answer(question.ask(wish));
  fmt::print("{}\n", answer.text);
  std::fflush(stdout);
  if (const auto wait = options.wait.value_or(options.within + wait_beyond_seconds); wait > 0.0)
    wait_for_end(answer.node, question, !options.node.empty(), wait);
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
      ->check(argument::from_to(0, drain_within_max))
      ->capture_default_str();
  command->add_option("--wait", options->wait,
                      fmt::format("seconds to wait until it is gone, at most; 0: do not wait; default: --within and {:g} more",
                                  wait_beyond_seconds))
      ->check(argument::from_to(0, 2 * drain_within_max));
  options->access.add_to(*command);
  command->callback([&chosen, options] { chosen = [options] { return drain(*options); }; });
}

}  // namespace troupe
