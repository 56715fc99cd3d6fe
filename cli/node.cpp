#include <unistd.h>

#include <chrono>
#include <future>
#include <memory>
#include <thread>

#include <fmt/format.h>

#include "actors/cluster_job.hpp"
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
  double drain_within = 25.0;
  double rejoin_within = 60.0;
  std::vector<std::string> preemption;
  bool quiet = false;
};

/// How often this thread looks at signals.
constexpr std::chrono::milliseconds poll{20};
constexpr std::chrono::milliseconds between_dials{500};
/// For actors to end, before the process ends with them.
constexpr unsigned wind_down_seconds = 20;

/// What ended one membership; on top of node_end, a head that could not be reached.
struct membership_result {
  node_end end;
  bool refused = false;
  bool joined = false;
};

class serving {
 public:
  serving(const node_options& options, std::string head, node_offer offer, console& people, interruption& signals)
      : options_(options), head_(std::move(head)), offer_(std::move(offer)), people_(people), signals_(signals) {
    access_ = options.access.find();
    const auto head_at = parse_endpoint(head_, "--join");
    where_ = options.listen.empty() ? endpoint_parts{head_at.loopback() ? "127.0.0.1" : "0.0.0.0", 0}
                                    : parse_endpoint(options.listen, "--listen");
  }

  /// Joins, serves, and returns when the membership has ended and nothing of it is left.
  membership_result once() {
    auto carrier = listen_on(where_, access_, advertised());
    membership_result result;
    {
      system_config config;
      caf::actor_system system{config};
      const auto ended = std::make_shared<std::promise<membership_result>>();
      auto end = ended->get_future();
      std::atomic<bool> joined{false};
      cluster_node_options node;
      node.codecs = job_codecs();
      node.offer = offer_;
      node.prepare = [](const std::vector<job_document>& documents) {
        return spawner_for(prepare_job_context(documents));
      };
      node.on_joined = [&](node_id id) {
        joined = true;
        people_.say(fmt::format("joined {} as node {}", head_, id));
      };
      node.on_end = [ended](const node_end& how) { ended->set_value({how, false, true}); };
      auto self = std::make_shared<cluster_node>(system, carrier, std::move(node));
      self->join(head_, [ended](const dial_result& failure) {
        ended->set_value({{node_end::kind::lost, failure.text}, failure.refused, false});
      });
      while (end.wait_for(poll) != std::future_status::ready)
        obey_signals(*self, joined);
      result = end.get();
      alarm(wind_down_seconds);  // an actor that is stuck in a handler must not keep a process that has nothing to do
      self.reset();
      system.await_all_actors_done();
      end_network(carrier);  // before the system, which waits for threads that have spawned actors
    }
    alarm(0);
    return result;
  }

 private:
  /// Where this node listens everywhere, other nodes reach it as the head does: names of machines often resolve nowhere.
  std::string advertised() const {
    const bool everywhere = where_.host == "0.0.0.0" || where_.host == "::";
    return options_.advertise.empty() && everywhere ? own_address_towards(parse_endpoint(head_, "--join"))
                                                    : options_.advertise;
  }

  void obey_signals(cluster_node& self, bool joined) {
    auto& asked = signals_.request();
    if (asked.cut.exchange(false))
      self.request_cut();
    if (!asked.stop || !joined || draining_)
      return;  // a dial ends by itself, soon
    draining_ = true;
    self.drain(std::chrono::milliseconds{static_cast<std::int64_t>(options_.drain_within * 1e3)}, "it was told to");
  }

  const node_options& options_;
  std::string head_;
  node_offer offer_;
  console& people_;
  interruption& signals_;
  cluster_access access_;
  endpoint_parts where_;
  bool draining_ = false;
};

std::string find_head(const node_options& options) {
  if (!options.join.empty())
    return options.join;
  const auto given = read_launch_environment();
  if (given.head)
    return *given.head;
  throw usage_error("a node needs a head to join\nhelp: --join HOST:PORT, or the variables of torchrun or Slurm");
}

preemption_options watch_options(const node_options& options, console& people, interruption& signals) {
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
    people.say(fmt::format("a notice of preemption: {}", notice.source));
    signals.request().stop = true;
  };
  watch.on_trouble = [&](const std::string& text) { people.say(text); };
  return watch;
}

exit_code serve(const node_options& options) {
  console people(stderr, options.quiet);
  interruption signals("told to leave: handing over and leaving");
  node_offer offer;
  offer.resources = this_node();
  if (options.cores > 0.0)
    offer.resources.cores = options.cores;
  offer.speed = options.speed > 0.0 ? options.speed : measure_fma_peak(1) / 1e9;
  serving server(options, find_head(options), offer, people, signals);
  std::optional<preemption_watch> watch;
  if (!options.preemption.empty())
    watch.emplace(watch_options(options, people, signals));

  const auto patience = std::chrono::duration<double>(options.rejoin_within);
  std::string told;
  for (auto last_contact = clock::now();;) {
    const auto result = server.once();
    if (result.end.what == node_end::kind::released) {
      people.say("left the cluster: " + result.end.text);
      return exit_code::done;
    }
    if (result.end.what == node_end::kind::unfit)
      throw input_error(result.end.text);
    if (result.refused)
      throw input_error(fmt::format("the head refused this node: {}", result.end.text));
    if (result.joined)
      last_contact = clock::now();
    if (signals.request().stop) {
      people.say(result.joined ? "left the cluster: the head is gone" : "left before it could join");
      return exit_code::done;  // nothing of the job is left here
    }
    if (clock::now() - last_contact > patience)
      throw system_error(fmt::format("no head for {} s: {}", options.rejoin_within, result.end.text));
    if (result.end.text != std::exchange(told, result.end.text))
      people.say(fmt::format("looking for the head: {}", result.end.text));
    for (const auto until = clock::now() + between_dials; clock::now() < until && !signals.request().stop;)
      std::this_thread::sleep_for(poll);
  }
}

}  // namespace

void add_node(CLI::App& app, action& chosen) {
  const auto options = std::make_shared<node_options>();
  auto* command = app.add_subcommand("node", "offer this process's cores and memory to a job, until told to stop");
  command->add_option("--join", options->join,
                      "HOST:PORT of `troupe train --listen`; default: what torchrun's or Slurm's variables say");
  command->add_option("--listen", options->listen,
                      "ADDRESS:PORT for other nodes; default: loopback where the head is, else every address");
  command->add_option("--advertise", options->advertise, "host under which other nodes reach this one");
  options->access.add_to(*command);
  command->add_flag("--insecure", options->access.insecure, "listen beyond this machine without TLS");
  command->add_option("--cores", options->cores, "cores to offer; default: those this process may use");
  command->add_option("--speed", options->speed, "of one core, relative to other nodes; default: measured, in GFLOP/s");
  command->add_option("--drain-within", options->drain_within, "seconds from SIGTERM to leaving, at most")
      ->capture_default_str();
  command->add_option("--rejoin-within", options->rejoin_within, "seconds to look for a head that is gone")
      ->capture_default_str();
  command->add_option("--preemption", options->preemption,
                      "watch a cloud's metadata service for notices: aws, gcp, or aws=URL")
      ->delimiter(',');
  command->add_flag("--quiet", options->quiet, "say nothing");
  command->callback([&chosen, options] { chosen = [options] { return serve(*options); }; });
}

}  // namespace troupe
