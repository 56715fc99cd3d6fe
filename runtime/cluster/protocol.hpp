#pragma once

/// How the head and the nodes of a cluster talk. The head is the process with the coordinator: node 0. Every other node
/// has an agent, known by the name "agent"; the head has "membership".
///
///     node   --introduction: join-->   head         over a fresh link; answered with the node's number
///     head   --meet_peers-->           agent        dial the nodes that joined before you
///     head   --prepare_job-->          agent        read the configuration, open the data
///     agent  --node_prepared-->        membership   from now on the node is ready: work may be placed on it
///     head   --forget_kept-->          agent        what the node holds of the time under another head is not needed
///     head   --spawn_actor-->          agent        and the handle of what is spawned is used at once
///     head   --drain_node-->           agent        somebody asked for it (`troupe drain`)
///     agent  --drain_request-->        membership   SIGTERM, a cloud's notice: the node must leave by a deadline
///     head   --leave_cluster-->        agent        nothing lives there any more; or the job is done
///
/// A node whose link to the head is lost ends its actors and joins anew, as another node. What they leave behind in its
/// memory is offered to the next head of the same run, and to no other. Two nodes that lose each
/// other while both still reach the head are a fault of the network between them: after `peer_grace` the head lets
/// the later one of them go (membership.hpp).

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <caf/all.hpp>

#include "runtime/checkpoint/cut_id.hpp"
#include "runtime/transport/message_codecs.hpp"
#include "runtime/transport/parcel.hpp"

namespace troupe {

inline constexpr const char* agent_name = "agent";
inline constexpr const char* membership_name = "membership";

/// What a job's processes build their part of it from, by name: the configuration, a tokenizer, ...
struct job_document {
  std::string name;
  std::string content;
};

// -- to an agent -----------------------------------------------------------------------

struct peer_endpoint {
  node_id node = head_node;
  std::string endpoint;
};

struct meet_peers {
  std::vector<peer_endpoint> peers;
};

/// A node is no member any more: drop the link to it.
struct forget_peer {
  node_id node = head_node;
  std::string evidence;
};

/// What a node may hold of the time under another head that is of use to this one.
struct inheritance {
  std::string run;            ///< the same for all heads of a run; of no other run. Empty: it keeps nothing
  std::optional<cut_id> cut;  ///< absent: nothing
};

struct prepare_job {
  std::vector<job_document> documents;
  inheritance from_before;
};

/// See node_prepared::kept.
struct forget_kept {};

/// Spawn this actor of the job; `owner` is told what it has to tell.
struct spawn_actor {
  std::string name;
  std::uint64_t incarnation = 0;
  caf::actor owner;
};

/// Ask to be let go by then, as if this process had been told by a signal: somebody asked the head for it.
struct drain_node {
  std::uint64_t within_ms = 0;
  std::string reason;
};

/// Leave; `reason` is for people.
struct leave_cluster {
  std::string reason;
  bool unfit = false;  ///< it is no good for this job, and need not come again
};

/// Fault injection: end this process at once, as SIGKILL does.
struct die_now {};

// -- to the membership -----------------------------------------------------------------

struct node_prepared {
  node_id node = head_node;
  std::string fault;                 ///< empty: it is ready
  std::uint64_t memory_bytes = 0;    ///< of the devices that compute; 0: what it offered when it joined holds
  std::string arithmetic;            ///< what decides how they round; empty: it makes no difference to the job
  std::vector<std::uint32_t> kept;   ///< shards of which it has a part of the cut that was asked for
};

struct peer_lost {
  node_id reporter = head_node;
  node_id peer = head_node;
  std::string evidence;
};

struct drain_request {
  node_id node = head_node;
  std::uint64_t within_ms = 0;
  std::string reason;
};

/// SIGUSR1 on a node: make a cut now.
struct cut_request {
  node_id node = head_node;
};

/// Adds what these need to travel.
void add_cluster_codecs(message_codecs& codecs);

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::meet_peers)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::forget_peer)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::prepare_job)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::forget_kept)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::spawn_actor)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::drain_node)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::leave_cluster)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::die_now)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::node_prepared)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::peer_lost)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::drain_request)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::cut_request)
