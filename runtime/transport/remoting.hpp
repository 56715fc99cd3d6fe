#pragma once

/// Handles to actors of other nodes. Local actors get addresses, addresses become handles; a message to such a handle
/// travels as a parcel and arrives in the ordinary mailbox of its receiver, with a sender that can be answered. Who
/// sends and who receives cannot tell the difference to a local message.
///
/// What holds:
/// - Messages from one node to another arrive in the order of their sending, across all actors of both.
/// - A handle to a remote actor can be monitored: it ends when the actor ends, with the actor's reason, and when its
///   node is lost, with errc::node_lost.
/// - What is addressed to an earlier incarnation than the one that lives is dropped and counted. What is addressed to
///   one that was not spawned here yet is kept for it: two nodes may hear of an actor in another order than its host.
/// - Requests do not travel, only messages: across machines a promise to answer is not worth more than a message.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <caf/all.hpp>

#include "runtime/transport/device_links.hpp"
#include "runtime/transport/message_codecs.hpp"
#include "runtime/transport/network.hpp"
#include "runtime/transport/parcel.hpp"

namespace troupe {

struct remoting_counters {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t stale_dropped = 0;  ///< to an earlier incarnation, or to somebody who has ended
  std::uint64_t bad_dropped = 0;    ///< not what its type says
  std::uint64_t early_dropped = 0;  ///< beyond the bound on what is kept
  std::uint64_t fenced_dropped = 0; ///< from nodes that are no members any more
  std::uint64_t tensor_bytes_sent = 0;       ///< with parcels, from host memory
  std::uint64_t device_link_bytes_sent = 0;  ///< from GPU to GPU
};

/// One per node; thread safe. Outlives every handle it made: keep it in a shared_ptr beside the actor system.
class remoting : public std::enable_shared_from_this<remoting> {
 public:
  /// Bound on parcels kept for actors that were not spawned yet.
  static constexpr std::size_t early_max = 4096;

  remoting(caf::actor_system& system, std::shared_ptr<network> carrier, message_codecs codecs);
  ~remoting();

  /// This node's number. Call before the first actor is hosted.
  void become(node_id self);
  node_id self() const;

  /// Makes a local actor reachable; gives it what came early. Its end is told to all nodes. Of two incarnations the
  /// earlier one is killed, whichever comes first: it is nobody's any more.
  void host(const std::string& name, std::uint64_t incarnation, const caf::actor& who);

  /// Says that an actor which was to live here never did; as if it had ended with `reason`.
  void refuse(const std::string& name, std::uint64_t incarnation, const caf::error& reason);

  /// A handle that reaches the address, here or elsewhere, also where its actor is yet to be spawned; an empty one where
  /// it has ended here; one that has ended where the node is not connected (any more).
  caf::actor handle(const actor_address& where);
  /// The address of a handle, hosting a local actor that has none under a name of its own.
  actor_address address_of(const caf::actor& who);

  /// From now on parcels for `node` go over `link`.
  void connect(node_id node, link_id link);
  /// Ends all handles to actors of `node`, with errc::node_lost.
  void disconnect(node_id node, const std::string& evidence);

  std::vector<node_id> connected() const;

  /// Something came over a link that belongs to node `from`.
  void receive(node_id from, parcel what);
  /// The same, and all of its tensors are there.
  void accept(node_id from, const parcel& what);
  /// Something came over a link that belongs to no member: nobody gets it, and it is counted.
  void drop_fenced();

  device_links& links() noexcept { return *device_links_; }
  remoting_counters counters() const;

 private:
  friend class remote_actor;

  struct local_actor {
    std::uint64_t incarnation = 0;  ///< the latest that lived here
    caf::actor handle;              ///< empty: it has ended
  };

  void send(const actor_address& to, caf::mailbox_element_ptr what);
  void send_exit(const actor_address& to, const caf::error& reason);
  void dispatch(node_id to, parcel what);
  void local_ended(const std::string& name, std::uint64_t incarnation, const caf::error& reason);
  void remote_ended(const actor_address& who, const caf::error& reason);
  void deliver(const caf::actor& to, const parcel& what);
  void drop(std::uint64_t remoting_counters::*counter);

  caf::actor_system& system_;
  std::shared_ptr<network> carrier_;
  message_codecs codecs_;
  const std::shared_ptr<device_links> device_links_ = std::make_shared<device_links>();
  const address_finder address_of_;
  const handle_finder handle_of_;

  mutable std::mutex mutex_;
  node_id self_ = head_node;
  std::map<std::string, local_actor> local_;
  std::map<caf::actor_id, actor_address> addresses_;           // of handles, local and remote
  std::map<actor_address, caf::actor> remote_;
  std::map<node_id, link_id> links_;
  std::map<actor_address, std::vector<parcel>> early_;
  std::size_t early_count_ = 0;
  remoting_counters counters_;
};

}  // namespace troupe
