#pragma once

/// The agent: what the head talks to on a node. It prepares the node for the job, spawns what the head asks for, and
/// ends it all when the node leaves. It computes nothing and holds nothing that must survive.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <caf/all.hpp>

#include "runtime/cluster/link_keeper.hpp"
#include "runtime/cluster/node_status.hpp"
#include "runtime/cluster/protocol.hpp"
#include "runtime/log_line.hpp"
#include "runtime/transport/remoting.hpp"

namespace troupe {

/// Spawns an actor of the job in this process, by its logical name; an empty handle where the name is nobody's.
using local_spawner = std::function<caf::actor(caf::actor_system&, const spawn_actor&)>;

/// A process that is ready for a job.
struct prepared_job {
  local_spawner spawn;
  std::uint64_t memory_bytes = 0;         ///< as in node_prepared
  std::string arithmetic{};               ///< likewise
  std::vector<std::uint32_t> kept{};      ///< likewise
  std::function<void()> forget_kept{};    ///< empty where nothing is kept
  std::optional<link_means> links{};      ///< absent: this job asks for no device links
};

/// Makes this process ready for a job; throws input_error where it cannot take part.
using job_preparer = std::function<prepared_job(const prepare_job&)>;

/// How a node's part in a cluster ends.
struct node_end {
  enum class kind : std::uint8_t {
    released,  ///< the head let it go: it drained, or the job is done
    unfit,     ///< it cannot take part in this job
    failed,    ///< its GPU is lost to this process; another may take its place
    lost,      ///< the link to the head is gone; it may join anew
  };
  kind what = kind::lost;
  std::string text;  ///< for people
};

// -- to the agent from its own process ---------------------------------------------------

struct head_lost {
  std::string evidence;
};
struct peer_silent {
  node_id peer = head_node;
  std::string evidence;
};
/// All peers were dialled; these could not be reached.
struct peers_met {
  std::vector<peer_silent> missed;
};
/// Messages of a peer were lost that its link had delivered: the link is as good as lost.
struct peer_unsound {
  node_id peer = head_node;
  std::string evidence;
};
struct ask_for_cut {};

struct agent_hooks {
  job_preparer prepare;
  std::function<void(const std::vector<peer_endpoint>&, std::function<void(peers_met)> done)> meet;
  std::function<void(node_id, const std::string& evidence)> forget;
  std::function<void(node_end)> ended;  ///< told once, when everything the agent spawned has ended or is stuck
  std::function<void()> die;            ///< fault injection
  std::function<void(const log_line&)> log;  ///< what happens here; called on the agent's thread
  std::shared_ptr<node_status> status;  ///< is told the same
};

using agent_actor =
    caf::typed_actor<caf::reacts_to<meet_peers>, caf::reacts_to<peers_met>, caf::reacts_to<forget_peer>,
                     caf::reacts_to<prepare_job>, caf::reacts_to<forget_kept>, caf::reacts_to<spawn_actor>, caf::reacts_to<leave_cluster>,
                     caf::reacts_to<die_now>, caf::reacts_to<head_lost>, caf::reacts_to<peer_silent>,
                     caf::reacts_to<peer_unsound>, caf::reacts_to<drain_node>, caf::reacts_to<ask_for_cut>>;

/// `membership` is the head's. Owns a thread: preparing a job may take a while.
caf::actor spawn_agent(caf::actor_system& system, std::shared_ptr<remoting> post, caf::actor membership,
                       agent_hooks hooks);

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::head_lost)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::peers_met)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::peer_silent)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::peer_unsound)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::ask_for_cut)
