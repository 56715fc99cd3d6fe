#pragma once

/// Device links: over them tensors on a GPU get to another node's GPU without passing through either host's memory. Each
/// is one direction between two nodes, on a `device_channel`; who forms, watches and breaks them is the link keeper
/// (runtime/cluster/link_keeper.hpp). `remoting` asks here first, and sends through the host where there is none.
///
/// What holds:
/// - A parcel whose tensors travel by a link names it by its number, which its receiver gave and never gives again. It is
///   delivered when they are there, whole, and what its sender sent later waits behind it: the order of messages is that
///   of parcels, whichever way their tensors take.
/// - Where a link breaks while parcels wait for their tensors, those are lost, so nothing more is delivered from that
///   node (it is barred) and the keeper gives up the ordinary link to it as well. So each message arrives once, or its
///   node is lost, as without device links.

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include <caf/all.hpp>

#include "runtime/tensor/device_channel.hpp"
#include "runtime/transport/parcel.hpp"

namespace troupe {

/// The keeper of each node's links. What is said to it overtakes what waits for tensors, and may be about those.
inline constexpr const char* link_keeper_name = "links";

/// One per node; thread safe.
class device_links : public std::enable_shared_from_this<device_links> {
 public:
  // -- for remoting -------------------------------------------------------------------

  /// Sends what of the parcel is on a device over the link to that node, and hands the rest to `pass_on`. False: nothing
  /// is on a device, or there is no link (any more), or it is full; then nothing happened. What `pass_on` throws breaks the
  /// link.
  bool send(node_id to, const parcel& what, const std::function<void(parcel)>& pass_on);
  /// Whether the parcel was taken, to be delivered when everything is there that came before it and with it. Parcels of
  /// one node come one at a time.
  bool take(node_id from, parcel& what);
  /// The node is no member any more: from now on nothing that waits is delivered.
  void disconnect(node_id node);
  /// Of tensors, all together.
  std::uint64_t sent_bytes() const noexcept { return sent_bytes_; }

  // -- for the keeper -----------------------------------------------------------------

  void open_sending(node_id to, std::uint64_t number, std::shared_ptr<device_channel> by);
  void close_sending(node_id to);

  using deliverer = std::function<void(const parcel&)>;
  void open_receiving(caf::actor_system& system, node_id from, std::uint64_t number, std::shared_ptr<device_channel> by,
                      deliverer deliver);
  /// Whether parcels waited for tensors; then the node is barred.
  bool close_receiving(node_id from);

  struct progress {
    std::uint64_t taken = 0;
    std::uint64_t delivered = 0;
  };
  progress of_receiving(node_id from) const;
  /// Of which nodes parcels came whose link is gone, since the last call: they are barred.
  std::set<node_id> take_unsound();

 private:
  friend class unpacking;

  struct sending {
    std::uint64_t number = 0;
    std::shared_ptr<device_channel> by;
    std::mutex turn;  // so that parcels and their tensors leave in one order
  };
  struct receiving {
    std::uint64_t number = 0;
    caf::actor unpacker;
    progress done;
    deliverer deliver;
  };

  /// Everything is there.
  void unpacked(node_id from, std::uint64_t number, const parcel& what);

  mutable std::mutex mutex_;
  std::map<node_id, std::shared_ptr<sending>> sending_;
  std::map<node_id, receiving> receiving_;
  std::set<node_id> barred_;  // for good: a node's number is never given out twice
  std::set<node_id> unsound_;
  std::atomic<std::uint64_t> sent_bytes_{0};
};

}  // namespace troupe
