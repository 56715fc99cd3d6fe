#include "runtime/cluster/membership.hpp"

#include <set>
#include <utility>

#include <fmt/format.h>

#include "runtime/probe.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

namespace {

class membership {
 public:
  membership(membership_actor::pointer self, std::shared_ptr<remoting> post, std::shared_ptr<cluster_board> board,
             membership_terms terms, const directory_actor& names, membership_hooks hooks)
      : self_(self),
        post_(std::move(post)),
        board_(std::move(board)),
        terms_(std::move(terms)),
        hooks_(std::move(hooks)) {
    self_->send(names, watch_names{"coordinator", caf::actor_cast<caf::actor>(self_)});
  }

  // -- joining --------------------------------------------------------------------------

  void on(const node_arrived& message) {
    meet_peers older;
    for (const auto& node : board_->nodes())
      if (node.id < message.node && node.state != node_state::gone)
        older.peers.push_back({node.id, node.offer.endpoint});
    tell(self_, agent_of(message.node), std::move(older));
    tell(self_, agent_of(message.node), terms_.job);
    if (terms_.prepare_within.count() > 0)
      run_later(self_, terms_.prepare_within, [this, node = message.node] { refuse_where_late(node); });
  }

  void on(const node_prepared& message) {
    const auto node = board_->find(message.node);
    if (!node)
      return;
    if (!message.fault.empty()) {  // it may have gone already
      board_->set_fault(message.node, message.fault);
      return expel(message.node, "it cannot take part: " + message.fault);
    }
    if (node->state != node_state::joining)
      return;
    if (const auto fault = mismatch(*node, message.arithmetic); !fault.empty())
      return refuse(message.node, fault);
    board_->set_memory(message.node, message.memory_bytes);
    board_->set_arithmetic(message.node, message.arithmetic);
    board_->set_kept(message.node, message.kept);
    if (restored_)
      forget_kept_of(message.node);
    board_->set_state(message.node, node_state::ready);
    say(message.node, "joined",
        fmt::format("node {} joined: {}, {:g} cores", message.node, node->offer.resources.host,
                    node->offer.resources.cores));
    tell(self_, coordinator_, node_ready{message.node});
  }

  // -- leaving and being lost -------------------------------------------------------------

  void on(const node_departed& message) {
    if (!departed_.insert(message.node).second)
      return;
    std::erase_if(lost_peers_, [&](const auto& each) { return each.first == message.node || each.second == message.node; });
    if (message.left)
      say(message.node, "left", fmt::format("node {} left", message.node));
    else
      say(message.node, "lost", fmt::format("node {} is gone: {}", message.node, message.evidence), log_level::warn);
    for (const auto& node : board_->nodes())
      if (node.state != node_state::gone)
        tell(self_, agent_of(node.id), forget_peer{message.node, message.evidence});
  }

  void on(const peer_lost& message) {
    lost_peers_.emplace(message.reporter, message.peer);
    const bool both_say_so = lost_peers_.count({message.peer, message.reporter}) > 0;
    run_later(self_, both_say_so ? peer_grace : one_sided_grace, [this, message] {
      if (!is_member(message.reporter) || !is_member(message.peer))
        return;  // the one or the other was lost, which explains it
      probe("membership: two nodes lost each other, and one had to go");
      expel(std::max(message.reporter, message.peer),
            fmt::format("nodes {} and {} lost each other while both reach the head: {}", message.reporter, message.peer,
                        message.evidence));
    });
  }

  void on(const drain_request& message) {
    if (!is_member(message.node))
      return;
    const bool was_ready = board_->find(message.node)->state == node_state::ready;
    board_->set_state(message.node, node_state::leaving);
    say(message.node, "leaves", fmt::format("node {} leaves: {}", message.node, message.reason));
    if (was_ready && !board_->is_empty(message.node) && coordinator_)
      tell(self_, coordinator_, node_leaving{message.node, message.reason});
    else
      release(message.node, "drained");
  }

  void on(const node_vacated& message) {
    probe("membership: a node was drained");
    if (is_member(message.node))
      release(message.node, "drained");
  }

  void on(const cut_restored&) {
    if (std::exchange(restored_, true))
      return;
    for (const auto& node : board_->nodes())
      forget_kept_of(node.id);
  }

  void on(const cut_request& message) {
    tell(self_, coordinator_, cut_wanted{fmt::format("asked for on node {}", message.node)});
  }

  void on(const kill_node& message) {
    if (is_member(message.node))
      tell(self_, agent_of(message.node), die_now{});
  }

  void on(const dismiss_nodes& message) {
    for (const auto& node : board_->nodes())
      if (node.state != node_state::gone)
        release(node.id, message.reason);
  }

  void on(const directory_entry& entry) {
    coordinator_ = entry.handle;
    if (!coordinator_)
      return;
    for (const auto& node : board_->nodes())
      if (node.state == node_state::leaving)
        tell(self_, coordinator_, node_leaving{node.id, "a request to leave that its predecessor did not see through"});
  }

 private:
  void say(node_id node, const char* event, std::string message, log_level level = log_level::info) {
    hooks_.tell({.event = event, .message = std::move(message), .level = level, .node = node});
  }

  bool is_member(node_id node) const {
    const auto found = board_->find(node);
    return found && found->state != node_state::gone;
  }

  /// Why a node may not compute with those that do; empty: it may.
  std::string mismatch(const node_record& newcomer, const std::string& arithmetic) const {
    const auto first = terms_.same_arithmetic ? board_->first_to_compute() : std::nullopt;
    if (!first || first->arithmetic == arithmetic)
      return {};
    return fmt::format("{} computes with {}, but node {} ({}) with {}: the result would depend on who computes what\n"
                       "help: let nodes with the same kind of processor or GPU and the same libraries join; where processors "
                       "differ, ONEDNN_MAX_CPU_ISA=AVX2, say, makes all nodes use what all have: set it for every node and "
                       "start the run's processes anew; or give up that runs repeat exactly with "
                       "cluster.mixed_arithmetic=true",
                       newcomer.offer.resources.host, arithmetic, first->id, first->offer.resources.host,
                       first->arithmetic);
  }

  /// It hears why, leaves by itself, and does not come again.
  void refuse(node_id node, const std::string& fault) {
    board_->set_fault(node, fault);
    board_->release(node);
    say(node, "refused", fmt::format("node {} cannot take part: {}", node, fault), log_level::warn);
    tell(self_, agent_of(node), leave_cluster{fault, true});
  }

  void refuse_where_late(node_id node) {
    if (const auto found = board_->find(node); found && found->state == node_state::joining)
      expel(node, fmt::format("it was not ready within {:g} s: it is still reading the job's data, or stuck in that",
                              std::chrono::duration<double>(terms_.prepare_within).count()));
  }

  void forget_kept_of(node_id node) {
    if (is_member(node) && board_->set_kept(node, {}))
      tell(self_, agent_of(node), forget_kept{});
  }

  caf::actor agent_of(node_id node) { return post_->handle({node, agent_name, 1}); }

  void release(node_id node, const std::string& reason) {
    board_->release(node);
    tell(self_, agent_of(node), leave_cluster{reason, false});
  }

  void expel(node_id node, const std::string& evidence) {
    hooks_.expel(node, evidence);
    on(node_departed{node, evidence});
  }

  membership_actor::pointer self_;
  std::shared_ptr<remoting> post_;
  std::shared_ptr<cluster_board> board_;
  membership_terms terms_;
  bool restored_ = false;  // nothing that nodes hold from before is needed
  membership_hooks hooks_;
  caf::actor coordinator_;
  std::set<node_id> departed_;  // that everybody was told of
  std::set<std::pair<node_id, node_id>> lost_peers_;  // reporters, each with whom it has lost
};

struct membership_state {
  std::unique_ptr<membership> body;
  static inline const char* name = "membership";
};

membership_actor::behavior_type behave(membership_actor::stateful_pointer<membership_state> self,
                                       const std::shared_ptr<remoting>& post,
                                       const std::shared_ptr<cluster_board>& board,
                                       const membership_terms& terms, const directory_actor& names,
                                       const membership_hooks& hooks) {
  keep_exceptions(self);
  auto& body = self->state.body;
  body = std::make_unique<membership>(self, post, board, terms, names, hooks);
  return {
      [&body](const node_arrived& message) { body->on(message); },
      [&body](const node_departed& message) { body->on(message); },
      [&body](const node_prepared& message) { body->on(message); },
      [&body](const peer_lost& message) { body->on(message); },
      [&body](const drain_request& message) { body->on(message); },
      [&body](const cut_request& message) { body->on(message); },
      [&body](const node_vacated& message) { body->on(message); },
      [&body](const cut_restored& message) { body->on(message); },
      [&body](const kill_node& message) { body->on(message); },
      [&body](const dismiss_nodes& message) { body->on(message); },
      [&body](const directory_entry& entry) { body->on(entry); },
  };
}

}  // namespace

caf::actor spawn_membership(caf::actor_system& system, std::shared_ptr<remoting> post,
                            std::shared_ptr<cluster_board> board, membership_terms terms,
                            const directory_actor& names, membership_hooks hooks) {
  return caf::actor_cast<caf::actor>(
      system.spawn(behave, std::move(post), std::move(board), std::move(terms), names, std::move(hooks)));
}

}  // namespace troupe
