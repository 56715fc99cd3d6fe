#pragma once

/// The membership: the head's side of the talk with nodes (see protocol.hpp). It decides who is a member; what a change
/// means for the job is the coordinator's.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <caf/all.hpp>

#include "runtime/cluster/board.hpp"
#include "runtime/cluster/protocol.hpp"
#include "runtime/log_line.hpp"
#include "runtime/supervision/directory.hpp"
#include "runtime/transport/remoting.hpp"

namespace troupe {

// -- to the membership, from the head's network ------------------------------------------

struct node_arrived {
  node_id node = head_node;
};
/// Its handles have ended already, and it stands on the board no more.
struct node_departed {
  node_id node = head_node;
  std::string evidence;
  bool left = false;  ///< it was to go
};

// -- between the membership and the coordinator ----------------------------------------------

/// To the coordinator: there is a new node, and work may move there.
struct node_ready {
  node_id node = head_node;
};
/// To the coordinator: move everybody off this node, at a cut. Answered by node_vacated. Told again to a coordinator
/// that is started anew.
struct node_leaving {
  node_id node = head_node;
  std::string reason;
};
struct node_vacated {
  node_id node = head_node;
};
/// To the coordinator: a cut as soon as all lanes stand level.
struct cut_wanted {
  std::string reason;
};
/// From the coordinator: all shards are restored, and what nodes hold from before is not needed (any more).
struct cut_restored {};
/// From the coordinator, for fault injection.
struct kill_node {
  node_id node = head_node;
};

/// To the membership: the job is over, all nodes may leave.
struct dismiss_nodes {
  std::string reason;
};

using membership_actor =
    caf::typed_actor<caf::reacts_to<node_arrived>, caf::reacts_to<node_departed>, caf::reacts_to<node_prepared>,
                     caf::reacts_to<peer_lost>, caf::reacts_to<drain_request>, caf::reacts_to<cut_request>,
                     caf::reacts_to<node_vacated>, caf::reacts_to<cut_restored>, caf::reacts_to<kill_node>,
                     caf::reacts_to<dismiss_nodes>,
                     caf::reacts_to<directory_entry>>;

/// What a membership asks of nodes.
struct membership_terms {
  prepare_job job;
  std::chrono::milliseconds prepare_within{0};  ///< else the node is refused; 0: it may take for ever
  bool same_arithmetic = false;                 ///< nodes that round otherwise than the first are refused
};

struct membership_hooks {
  /// Strikes a member out: closes its link, ends its handles.
  std::function<void(node_id, const std::string& evidence)> expel;
  /// For a log: a node "joined", "leaves", has "left", was "lost".
  std::function<void(const log_line&)> tell;
};

/// How long two nodes may have lost each other before one of them must go. Where only one of them says so, the other may
/// have lost the head as well, which is about to notice: nobody else is to go for that.
inline constexpr std::chrono::milliseconds peer_grace{1'000};
inline constexpr std::chrono::milliseconds one_sided_grace{5'000};

caf::actor spawn_membership(caf::actor_system& system, std::shared_ptr<remoting> post,
                            std::shared_ptr<cluster_board> board, membership_terms terms,
                            const directory_actor& names, membership_hooks hooks);

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::node_arrived)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::node_departed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::node_ready)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::node_leaving)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::node_vacated)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::cut_wanted)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::cut_restored)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::kill_node)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::dismiss_nodes)
