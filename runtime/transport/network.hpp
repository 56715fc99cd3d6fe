#pragma once

/// The seam between actors and whatever carries their parcels: `tcp_network` between processes, a simulated one in
/// tests. Everything above it (handles to remote actors, membership, recovery) is the same code on both.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "runtime/transport/parcel.hpp"

namespace troupe {

/// Whether a peer that says nothing is still there (phi_detector.hpp). A stopped or cut off peer is lost after `silence_max`
/// and one heartbeat at the latest; where it was heard regularly, at phi 12 after some 15 heartbeats.
struct failure_detection {
  std::chrono::milliseconds heartbeat{200};      ///< between signs of life on an idle link
  double phi = 12.0;                             ///< one suspicion in 10^phi is wrong
  std::chrono::milliseconds silence_max{5'000};  ///< as long a silence is death

  friend bool operator==(const failure_detection&, const failure_detection&) = default;
};

/// One connection to another process, of either side's making; never reused within a network.
using link_id = std::uint64_t;

/// What the accepting side says to whoever introduces itself.
struct introduction_reply {
  bool accepted = false;
  std::string text;           ///< accepted: an answer for the dialer; otherwise the reason, for people
  bool close_after = false;   ///< accepted, but the answer is all there is: a question, not a peer
};

/// Whom a network tells; all functions are called on the network's thread, one at a time, and must not block.
struct network_events {
  /// Somebody who proved to know the cluster's secret and to speak this protocol introduces itself.
  std::function<introduction_reply(link_id, const std::string& introduction)> on_introduction;
  std::function<void(link_id, parcel)> on_parcel;
  /// The link is gone, for whatever reason but a `close` of our own; nothing comes from it any more. `evidence` is a
  /// sentence for people: what was seen, and how long it took.
  std::function<void(link_id, const std::string& evidence)> on_lost;
  /// A parcel came over a link that was lost or closed, and was dropped. May be empty.
  std::function<void(link_id)> on_late{};
};

/// How a dial ended.
struct dial_result {
  link_id link = 0;     ///< 0: it failed
  std::string text;     ///< the reply's text, or why it failed
  bool refused = false; ///< the other side was reached and said no: trying again does not help
};

class network {
 public:
  virtual ~network() = default;

  /// Begins to accept and to tell. Call once, before anything else.
  virtual void start(network_events events) = 0;

  /// "HOST:PORT" where others reach this network.
  virtual std::string endpoint() const = 0;

  /// Connects and introduces; `done` is called on the network's thread, exactly once, within a bounded time.
  virtual void dial(const std::string& endpoint, std::string introduction, std::function<void(dial_result)> done) = 0;

  /// Hands a parcel over. Parcels of one link arrive in the order of their sending, each once, or the link is lost.
  /// Thread safe. Where more than a stated number of bytes wait for a slow receiver, a call with tensors blocks until
  /// there is room or the link is lost; one without never blocks. On an unknown link nothing happens: its loss was or
  /// will be told. Throws std::length_error for a parcel beyond what the network carries at once.
  virtual void send(link_id link, parcel message) = 0;

  /// How peers are watched, and how often they hear of us, from now on. On the network's thread, or before `start`.
  virtual void watch_peers(const failure_detection& how) = 0;

  /// Ends a link after what was handed over has left, or after a bounded time. No on_lost follows.
  virtual void close(link_id link) = 0;
};

/// Drops the last handle to a network, on the caller's thread: waits for others who still hold one. A network must not
/// end on its own thread. One that an actor holds which is stuck in a handler is left behind after a while (P3), for the
/// end of the process to take away.
void end_network(std::shared_ptr<network>& last);

}  // namespace troupe
