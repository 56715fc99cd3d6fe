#pragma once

/// The head of a cluster: the process in which the coordinator lives. It accepts nodes, knows who lives where, and
/// spawns actors there.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <caf/all.hpp>

#include "runtime/cluster/introduction.hpp"
#include "runtime/cluster/links.hpp"
#include "runtime/cluster/membership.hpp"
#include "runtime/transport/network.hpp"
#include "runtime/transport/remoting.hpp"

namespace troupe {

struct cluster_head_options {
  message_codecs codecs;                   ///< of everything that actors say to each other
  placement_demands demands;
  membership_terms terms;                  ///< what every node prepares itself with, and how long that may take
  failure_detection peers;                 ///< how all processes watch each other
  std::string cluster;                     ///< drawn anew by each run
  std::function<std::string()> status;     ///< of the job, as a JSON object; must not wait
  std::function<void(const log_line&)> tell;  ///< see membership_hooks; called on an actor's thread
};

class cluster_head : public std::enable_shared_from_this<cluster_head> {
 public:
  cluster_head(caf::actor_system& system, std::shared_ptr<network> carrier, cluster_head_options options);

  /// Starts to accept nodes.
  void start(const directory_actor& names);

  /// Spawns an actor on a node and returns a handle that can be used at once. On `no_node`: an empty handle.
  caf::actor spawn_on(node_id node, const spawn_actor& what);

  cluster_board& board() noexcept { return *board_; }
  const cluster_board& board() const noexcept { return *board_; }
  const caf::actor& membership() const noexcept { return membership_; }
  std::string endpoint() const { return carrier_->endpoint(); }

 private:
  /// The answer to whoever asks how things are: JSON, see cli/README.md.
  std::string describe() const;
  void expel(node_id node, const std::string& evidence);

  template <class Member>
  friend network_events events_for(std::weak_ptr<Member> who);
  introduction_reply drain(const introduction& wish);
  introduction_reply introduced(link_id link, const std::string& text);
  void arrived(link_id link, parcel what);
  void lost(link_id link, const std::string& evidence);
  void late() { post_->drop_fenced(); }

  caf::actor_system& system_;
  std::shared_ptr<network> carrier_;
  cluster_head_options options_;
  std::shared_ptr<remoting> post_;
  std::shared_ptr<cluster_board> board_;
  caf::actor membership_;
  node_links links_;
};

}  // namespace troupe
