#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "actors/cluster_job.hpp"
#include "actors/surviving_cuts.hpp"
#include "cli/argument_checks.hpp"
#include "cli/cluster_access.hpp"
#include "cli/command.hpp"
#include "cli/job_preparation.hpp"
#include "cli/progress.hpp"
#include "cli/signals.hpp"
#include "runtime/cluster/environment.hpp"
#include "runtime/cluster/node.hpp"
#include "runtime/cluster/preemption.hpp"
#include "runtime/error.hpp"
#include "runtime/system.hpp"
#include "runtime/tensor/cpu/peak.hpp"

namespace troupe {

namespace {

using clock = std::chrono::steady_clock;

struct node_options {
  std::string join;
  std::string listen;
  std::string advertise;
  access_options access;
  double cores = 0.0;
  double speed = 0.0;
  double drain_within = drain_within_default;
  double rejoin_within = 60.0;
  std::vector<std::string> preemption;
  bool quiet = false;
};

/// How often this thread looks at signals.
constexpr std::chrono::milliseconds poll{20};
constexpr std::chrono::milliseconds between_dials{500};
/// For actors to end that the agent did not wait for.
constexpr std::chrono::seconds wind_down{1};

/// What ended one membership; on top of node_end, a head that could not be reached.
struct membership_result {
  node_end end;
  bool refused = false;
  bool joined = false;
};

/// Why this node leaves, and when it must be gone. Thread safe.
class departure {
 public:
  explicit departure(const interruption& signals) : signals_(signals) {}

  bool wanted() const {
    const std::lock_guard lock(mutex_);
    return notice_ || signals_.request().stop;
  }

  void because_of(const preemption_notice& notice) {
    const std::lock_guard lock(mutex_);
    notice_ = notice;
  }

  /// From now on: how long actors may take, so that the process has ended in time, and why. Without a notice it was a
  /// signal.
  std::pair<std::chrono::milliseconds, std::string> now(double seconds_at_most) const {
    const std::lock_guard lock(mutex_);
    const auto milliseconds = [](auto time) { return std::chrono::duration_cast<std::chrono::milliseconds>(time); };
    auto left = milliseconds(std::chrono::duration<double>(seconds_at_most));
    if (notice_)
      left = std::clamp(milliseconds(notice_->deadline - clock::now()), std::chrono::milliseconds{0}, left);
    return {left - std::min(to_end, left / 2), notice_ ? notice_->source : "it was told to"};
  }

 private:
  static constexpr std::chrono::milliseconds to_end{2'000};  // for this process, once it is let go

  const interruption& signals_;
  mutable std::mutex mutex_;
  std::optional<preemption_notice> notice_;  // no signal: one that follows it is the first of its kind
};

/// What ended a membership or an attempt at one, told on other threads, for the one that waits.
class verdict {
 public:
  void give(membership_result result) {
    const std::lock_guard lock(mutex_);
    if (!given_)
      given_ = std::move(result);
    came_.notify_all();
  }
  std::optional<membership_result> take_within(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    came_.wait_for(lock, time, [this] { return given_.has_value(); });
    return std::exchange(given_, {});
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::optional<membership_result> given_;
};

class serving {
 public:
  serving(const node_options& options, std::string head, node_offer offer, console& log, interruption& signals,
          const departure& why)
      : options_(options), head_(std::move(head)), offer_(std::move(offer)), log_(log), signals_(signals), why_(why) {
    access_ = options.access.find();
    const auto head_at = parse_endpoint(head_, "--join");
    where_ = options.listen.empty() ? endpoint_parts{head_at.loopback() ? "127.0.0.1" : "0.0.0.0", 0}
                                    : parse_endpoint(options.listen, "--listen", 0);
  }

  /// Looks for the head as long as it may, serves, and returns when the membership has ended and nothing of it is left but
  /// what the next head of the same run may want. All the while this node answers whoever asks how it is.
  membership_result once() {
    const auto patience_ends = clock::now() + std::chrono::duration<double>(options_.rejoin_within);
    auto carrier = listen_on(where_, access_, advertised());
    membership_result result;
    {
      bounded_system world{wind_down};
      const auto ended = std::make_shared<verdict>();
      std::atomic<bool> joined{false};
      cluster_node_options node;
      node.codecs = job_codecs();
      node.offer = offer_;
      node.prepare = [this](const prepare_job& what) {
        return prepare_with(survivors_, *prepare_job_context(what.documents), what);
      };
      node.on_joined = [&](node_id id) {
        joined = true;
        log_.set_node(id);
        log_.say({.event = "joined", .message = fmt::format("joined {} as node {}", head_, id)});
      };
      node.log = [this](const log_line& line) { log_.say(line); };
      node.on_end = [ended](const node_end& how) { ended->give({how, false, true}); };
      auto self = std::make_shared<cluster_node>(world.get(), carrier, std::move(node));
      for (;;) {
        self->join(
            head_,
            [ended](const dial_result& failure) {
              ended->give({{node_end::kind::lost, failure.text}, failure.refused, false});
            },
            own_endpoint(carrier->endpoint()));
        std::optional<membership_result> end;
        while (!(end = ended->take_within(poll)))
          obey_signals(*self, joined);
        result = *end;
        if (result.joined || result.refused || why_.wanted() || clock::now() > patience_ends)
          break;
        tell_search(result.end.text);
        pause();
      }
      self.reset();
      world.wind_down();
      end_network(carrier);  // before the system, which waits for threads that have spawned actors
    }
    return result;
  }

  /// Says why it is without a head, unless that was the last that it said.
  void tell_search(const std::string& reason) {
    if (reason != std::exchange(told_, reason))
      log_.say({.event = "searches", .message = fmt::format("looking for the head: {}{}", reason, what_it_keeps())});
  }

  /// Before another dial.
  void pause() const {
    for (const auto until = clock::now() + between_dials; clock::now() < until && !why_.wanted();)
      std::this_thread::sleep_for(poll);
  }

  /// For a sentence; empty where there is nothing.
  std::string what_it_keeps() const {
    const auto shards = survivors_->shards();
    return shards.empty() ? std::string{}
                          : fmt::format("; keeps its last cuts for the next: shard {}", fmt::join(shards, ", "));
  }

 private:
  /// Where this node listens everywhere, other nodes reach it as the head does: names of machines often resolve nowhere.
  std::string advertised() const {
    const bool everywhere = where_.host == "0.0.0.0" || where_.host == "::";
    return options_.advertise.empty() && everywhere ? own_address_towards(parse_endpoint(head_, "--join"))
                                                    : options_.advertise;
  }

  /// The way to the head may be known only now.
  std::string own_endpoint(const std::string& listens) const {
    const auto host = advertised();
    return host.empty() ? listens : to_string({host, parse_endpoint(listens, "--listen").port});
  }

  void obey_signals(cluster_node& self, bool joined) {
    if (signals_.request().cut.exchange(false))
      self.request_cut();
    if (!why_.wanted() || !joined || draining_)
      return;  // a dial ends by itself, soon
    draining_ = true;
    const auto [within, reason] = why_.now(options_.drain_within);
    self.drain(within, reason);
  }

  const node_options& options_;
  std::string head_;
  node_offer offer_;
  console& log_;
  interruption& signals_;
  const departure& why_;
  cluster_access access_;
  endpoint_parts where_;
  bool draining_ = false;
  std::string told_;
  const std::shared_ptr<surviving_cuts> survivors_ = std::make_shared<surviving_cuts>();
};

std::string find_head(const node_options& options) {
  if (!options.join.empty())
    return options.join;
  const auto given = read_launch_environment();
  if (given.head)
    return *given.head;
  throw usage_error("a node needs a head to join\nhelp: --join HOST:PORT, or the variables of torchrun or Slurm");
}

preemption_options watch_options(const node_options& options, console& log, departure& why) {
  preemption_options watch;
  watch.sources.clear();
  for (const auto& each : options.preemption) {
    const auto equals = each.find('=');
    const auto name = each.substr(0, equals);
    if (name != "aws" && name != "gcp")
      throw usage_error(fmt::format("--preemption '{}': expected aws, gcp, or one of them with =URL", each));
    preemption_source source{name == "aws" ? metadata_service::aws : metadata_service::gcp};
    if (equals != std::string::npos)
      source.url = each.substr(equals + 1);
    watch.sources.push_back(source);
  }
  watch.on_notice = [&](const preemption_notice& notice) {
    log.say({.event = "preemption", .message = notice.source, .level = log_level::warn});
    why.because_of(notice);
  };
  watch.on_trouble = [&](const std::string& text) { log.say({.event = "preemption_unknown", .message = text}); };
  return watch;
}

exit_code serve(const node_options& options) {
  console log(stderr, options.quiet, console::style::log);
  interruption signals("");
  departure why(signals);
  node_offer offer;
  offer.resources = this_node();
  if (options.cores > 0.0)
    offer.resources.cores = options.cores;
  offer.speed = options.speed > 0.0 ? options.speed : measure_fma_peak(1) / 1e9;
  serving server(options, find_head(options), offer, log, signals, why);
  std::optional<preemption_watch> watch;
  if (!options.preemption.empty())
    watch.emplace(watch_options(options, log, why));

  for (;;) {
    const auto result = server.once();
    if (result.end.what == node_end::kind::released) {
      log.say({.event = "left", .message = result.end.text});
      return exit_code::done;
    }
    if (result.refused || result.end.what == node_end::kind::unfit)
      log.say({.event = "refused", .message = result.end.text, .level = log_level::warn});
    if (result.end.what == node_end::kind::unfit)
      throw input_error(result.end.text);
    if (result.end.what == node_end::kind::failed)
      throw system_error(result.end.text);
    if (result.refused)
      throw input_error(fmt::format("the head refused this node: {}", result.end.text));
    if (why.wanted()) {
      log.say(log_line{.event = "left",
                       .message = result.joined ? "the head is gone" : "told to, before it could join"});
      return exit_code::done;  // nothing of the job is left here
    }
    if (!result.joined)
      throw system_error(fmt::format("no head for {} s: {}{}", options.rejoin_within, result.end.text,
                                     server.what_it_keeps().empty() ? "" : "; what it kept of the last cuts is dropped"));
    server.tell_search(result.end.text);
    server.pause();
  }
}

}  // namespace

void add_node(CLI::App& app, action& chosen) {
  const auto options = std::make_shared<node_options>();
  auto* command = app.add_subcommand("node", "offer this process's cores and memory to a job, until told to stop");
  command->add_option("--join", options->join,
                      "HOST:PORT of `troupe train --listen`; default: what torchrun's or Slurm's variables say");
  command->add_option("--listen", options->listen,
                      "ADDRESS:PORT for other nodes; default: loopback where the head is, else every address; any port that is free");
  command->add_option("--advertise", options->advertise, "host under which other nodes reach this one");
  options->access.add_to(*command);
  command->add_flag("--insecure", options->access.insecure, "listen beyond this machine without TLS");
  command->add_option("--cores", options->cores, "cores to offer; default: those this process may use")
    ->check(argument::above_to(0, 65536));
  command->add_option("--speed", options->speed, "of one core, relative to other nodes; default: measured, in GFLOP/s")
    ->check(argument::above_to(0, 1e9));
  command->add_option("--drain-within", options->drain_within, "seconds from SIGTERM to leaving, at most")
      ->check(argument::from_to(0, drain_within_max))
      ->capture_default_str();
  command->add_option("--rejoin-within", options->rejoin_within, "seconds to look for a head that is gone")
      ->check(argument::from_to(0, 2592000))
      ->capture_default_str();
  command->add_option("--preemption", options->preemption,
                      "watch a cloud's metadata service for notices: aws, gcp, or aws=URL, gcp=URL")
      ->delimiter(',');
  command->add_flag("--quiet", options->quiet, "log nothing but warnings");
  command->callback([&chosen, options] { chosen = [options] { return serve(*options); }; });
}

}  // namespace troupe
