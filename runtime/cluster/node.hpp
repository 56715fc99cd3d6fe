#pragma once

/// One node's part in one cluster, from joining to its end. A process that joins anew makes another one, with another
/// actor system: nothing of what a node was survives its membership.

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include <caf/all.hpp>

#include "runtime/cluster/agent.hpp"
#include "runtime/cluster/introduction.hpp"
#include "runtime/cluster/links.hpp"
#include "runtime/cluster/node_status.hpp"
#include "runtime/transport/network.hpp"
#include "runtime/transport/remoting.hpp"

namespace troupe {

struct cluster_node_options {
  message_codecs codecs;                        ///< of everything that actors say to each other
  node_offer offer;                             ///< its endpoint is the network's
  job_preparer prepare;
  std::function<void(node_id)> on_joined;       ///< told on the network's thread
  std::function<void(node_end)> on_end;         ///< told once, from any thread; nothing of the job lives here then
  std::function<void()> die;                    ///< fault injection; none: SIGKILL to this process
  std::function<void(const log_line&)> log;     ///< what happens here; called on threads of actors
};

class cluster_node : public std::enable_shared_from_this<cluster_node> {
 public:
  cluster_node(caf::actor_system& system, std::shared_ptr<network> carrier, cluster_node_options options);

  /// Starts the network, so that this node answers whoever asks it how it is, and dials the head. `on_failure` is told on
  /// the network's thread where that fails; `refused`: trying again does not help, otherwise this may be called again.
  /// `own_endpoint` is where other nodes reach this one; empty: where the network says.
  void join(const std::string& head_endpoint, std::function<void(const dial_result&)> on_failure,
            const std::string& own_endpoint = {});

  /// Asks the head to let this node go within a time; then it goes. Thread safe.
  void drain(std::chrono::milliseconds within, const std::string& reason);
  /// Asks for a cut now. Thread safe.
  void request_cut();

  /// The agent; empty before the node has joined. Thread safe.
  caf::actor agent() const;

 private:
  template <class Member>
  friend network_events events_for(std::weak_ptr<Member> who);
  introduction_reply introduced(link_id link, const std::string& text);
  void arrived(link_id link, parcel what);
  void lost(link_id link, const std::string& evidence);
  void late() { post_->drop_fenced(); }

  void joined(const dial_result& result);
  void meet(const std::vector<peer_endpoint>& peers, std::function<void(peers_met)> done);
  void forget(node_id peer, const std::string& evidence);
  void connect(node_id peer, link_id link);

  caf::actor_system& system_;
  std::shared_ptr<network> carrier_;
  cluster_node_options options_;
  std::shared_ptr<remoting> post_;

  const std::shared_ptr<node_status> status_ = std::make_shared<node_status>();
  bool listens_ = false;
  node_links links_;
  mutable std::mutex mutex_;
  std::string cluster_;
  std::map<link_id, std::string> unverified_;  // peers that dialled before the head's welcome was read: their cluster
  caf::actor agent_;
};

}  // namespace troupe
