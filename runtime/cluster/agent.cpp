#include "runtime/cluster/agent.hpp"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "runtime/error.hpp"
#include "runtime/probe.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

namespace {

/// For actors to end when the node leaves. Of the time for a drain they get at most half.
constexpr std::chrono::milliseconds wind_down{5'000};

class agent {
 public:
  agent(agent_actor::pointer self, std::shared_ptr<remoting> post, caf::actor membership, agent_hooks hooks)
      : self_(self), post_(std::move(post)), membership_(std::move(membership)), hooks_(std::move(hooks)) {
    self_->set_down_handler([this](const caf::down_msg& down) {
      std::erase_if(spawned_, [&](const auto& each) {
        if (each.second.handle.address() != down.source)
          return false;
        hooks_.status->hosts_no_more(each.first);
        say_ended(each.first, each.second.incarnation, down.reason);
        return true;
      });
      if (is(down.reason, errc::device_lost) && !end_) {  // whoever is started here meets it again
        probe("agent: a node left since its device was lost");
        tell(self_, membership_, drain_request{post_->self(), 0, root_cause(down.reason)});
        end({node_end::kind::failed, root_cause(down.reason)});
      }
      end_if_alone();
    });
  }

  ~agent() {
    for (const auto& [name, who] : spawned_)
      send_exit(who.handle, caf::exit_reason::kill);
    send_exit(link_keeper_, caf::exit_reason::kill);
  }

  void on(const meet_peers& message) {
    hooks_.meet(message.peers, [me = caf::actor_cast<caf::actor>(self_)](peers_met result) {
      caf::anon_send(me, std::move(result));
    });
  }

  void on(const peers_met& message) {
    for (const auto& each : message.missed)
      on(each);  // the head knows whether that peer is gone, or which of the two must go
    met_ = true;
    report_ready();
  }

  void on(const forget_peer& message) { hooks_.forget(message.node, message.evidence); }

  void on(const prepare_job& message) {
    try {
      job_ = hooks_.prepare(message);
      keep_links();
      report_ready();
    } catch (const std::exception& fault) {
      be_unfit(fault.what());
    }
  }

  void on(const forget_kept&) {
    if (job_ && job_->forget_kept)
      job_->forget_kept();
  }

  void on(const spawn_actor& message) {
    caf::error reason = make_error(errc::moved, "the node leaves");
    if (job_ && !end_) {
      try {
        if (const auto who = job_->spawn(self_->system(), message)) {
          spawned_[message.name] = {message.incarnation, who};  // its predecessor has ended, or was given up
          hooks_.status->hosts(message.name, message.incarnation);
          hooks_.log({.event = "started",
                      .node = post_->self(),
                      .actor = message.name,
                      .incarnation = message.incarnation});
          post_->host(message.name, message.incarnation, who);
          self_->monitor(who);  // after that, so that we hear of its end before others do, who may start its successor
          return;
        }
        reason = make_error(errc::bad_input, fmt::format("{}: this build knows no such actor", message.name));
      } catch (...) {
        reason = to_error(std::current_exception());
      }
    }
    say_ended(message.name, message.incarnation, reason);
    post_->refuse(message.name, message.incarnation, reason);
  }

  void on(const leave_cluster& message) {
    end({message.unfit ? node_end::kind::unfit : node_end::kind::released, message.reason});
  }
  void on(const head_lost& message) {
    probe("agent: a node lost its head and ended its actors");
    end({node_end::kind::lost, message.evidence});
  }
  void on(const die_now&) { hooks_.die(); }

  void on(const peer_silent& message) {
    say("peer_lost", fmt::format("node {}: {}", message.peer, message.evidence));
    tell(self_, membership_, peer_lost{post_->self(), message.peer, message.evidence});
  }

  void on(const peer_unsound& message) {
    hooks_.forget(message.peer, message.evidence);
    on(peer_silent{message.peer, message.evidence});
  }

  void on(const drain_node& message) {
    if (gone_by_ || end_)
      return;  // it does already
    hooks_.status->leaves();
    say("leaves", fmt::format("{}; asks to be let go within {} s", message.reason, message.within_ms / 1000));
    tell(self_, membership_, drain_request{post_->self(), message.within_ms, message.reason});
    const std::chrono::milliseconds within{message.within_ms};
    gone_by_ = self_->clock().now() + within;
    run_later(self_, within - std::min(wind_down, within / 2), [this] {
      end({node_end::kind::released, "the deadline came before the head let this node go"});
    });
  }

  void on(const ask_for_cut&) { tell(self_, membership_, cut_request{post_->self()}); }

 private:
  struct hosted {
    std::uint64_t incarnation = 0;
    caf::actor handle;
  };

  void say(const char* event, std::string message) {
    hooks_.log({.event = event, .message = std::move(message), .node = post_->self()});
  }

  /// Whoever was told to end, or to live elsewhere, has not failed.
  void say_ended(const std::string& name, std::uint64_t incarnation, const caf::error& reason) {
    const bool as_told = !reason || is(reason, errc::moved) || is(reason, errc::head_lost) || reason == caf::exit_reason::user_shutdown ||
                         reason == caf::exit_reason::kill;
    hooks_.log({.event = "ended",
                .message = root_cause(reason),
                .level = as_told ? log_level::info : log_level::warn,
                .node = post_->self(),
                .actor = name,
                .incarnation = incarnation});
  }

  void keep_links() {
    if (!job_->links || link_keeper_)
      return;
    const auto lose = [me = caf::actor_cast<caf::actor>(self_)](node_id peer, const std::string& evidence) {
      caf::anon_send(me, peer_unsound{peer, evidence});
    };
    link_keeper_ = spawn_link_keeper(self_->system(), post_, *job_->links, {lose, hooks_.log});
    post_->host(link_keeper_name, 1, link_keeper_);
  }

  void report_ready() {
    if (!met_ || !job_)
      return;
    hooks_.status->is_ready();
    say("ready", "the job's data is open, and all nodes are met");
    tell(self_, membership_, node_prepared{post_->self(), {}, job_->memory_bytes, job_->arithmetic, job_->kept});
  }

  void be_unfit(const std::string& fault) {
    tell(self_, membership_, node_prepared{post_->self(), fault, 0, {}, {}});
    end({node_end::kind::unfit, fault});
  }

  void end(node_end how) {
    if (end_)
      return;
    end_ = std::move(how);
    hooks_.status->leaves();
    const auto reason = end_->what == node_end::kind::lost ? make_error(errc::head_lost, "the node lost its head")
                                                           : make_error(errc::moved, "the node leaves");
    for (const auto& [name, who] : spawned_)
      send_exit(who.handle, reason);
    auto patience = wind_down;
    if (gone_by_)
      patience = std::clamp(std::chrono::duration_cast<std::chrono::milliseconds>(*gone_by_ - self_->clock().now()),
                            std::chrono::milliseconds{0}, wind_down);
    // Whoever is stuck in a handler does not keep the node.
    run_later(self_, patience, [this] {
      for (const auto& [name, who] : spawned_)
        hooks_.log({.event = "stuck",
                    .message = name + " does not end: it is left behind, stuck in a handler",
                    .level = log_level::warn,
                    .node = post_->self(),
                    .actor = name,
                    .incarnation = who.incarnation});
      spawned_.clear();
      end_if_alone();
    });
    end_if_alone();
  }

  void end_if_alone() {
    if (!end_ || !spawned_.empty() || told_)
      return;
    told_ = true;
    if (link_keeper_) {
      const auto sent = post_->counters();
      say("traffic", fmt::format("sent tensors of {} bytes from GPU to GPU, of {} bytes through the hosts' memory",
                                 sent.device_link_bytes_sent, sent.tensor_bytes_sent));
    }
    hooks_.ended(*end_);
    self_->quit();
  }

  agent_actor::pointer self_;
  std::shared_ptr<remoting> post_;
  caf::actor membership_;
  agent_hooks hooks_;
  std::optional<prepared_job> job_;
  caf::actor link_keeper_;
  std::map<std::string, hosted> spawned_;  // by name: the latest
  bool met_ = false;
  bool told_ = false;
  std::optional<caf::actor_clock::time_point> gone_by_;  // it drains
  std::optional<node_end> end_;
};

struct agent_state {
  std::unique_ptr<agent> body;
  static inline const char* name = "agent";
};

agent_actor::behavior_type behave(agent_actor::stateful_pointer<agent_state> self,
                                  const std::shared_ptr<remoting>& post, const caf::actor& membership,
                                  const agent_hooks& hooks) {
  keep_exceptions(self);
  auto& body = self->state.body;
  body = std::make_unique<agent>(self, post, membership, hooks);
  return {
      [&body](const meet_peers& message) { body->on(message); },
      [&body](const peers_met& message) { body->on(message); },
      [&body](const forget_peer& message) { body->on(message); },
      [&body](const prepare_job& message) { body->on(message); },
      [&body](const forget_kept& message) { body->on(message); },
      [&body](const spawn_actor& message) { body->on(message); },
      [&body](const leave_cluster& message) { body->on(message); },
      [&body](const die_now& message) { body->on(message); },
      [&body](const head_lost& message) { body->on(message); },
      [&body](const peer_silent& message) { body->on(message); },
      [&body](const peer_unsound& message) { body->on(message); },
      [&body](const drain_node& message) { body->on(message); },
      [&body](const ask_for_cut& message) { body->on(message); },
  };
}

}  // namespace

caf::actor spawn_agent(caf::actor_system& system, std::shared_ptr<remoting> post, caf::actor membership,
                       agent_hooks hooks) {
  return caf::actor_cast<caf::actor>(
      spawn_computing(system, behave, std::move(post), std::move(membership), std::move(hooks)));
}

}  // namespace troupe
