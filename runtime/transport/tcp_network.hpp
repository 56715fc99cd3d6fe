#pragma once

/// The network between processes: links are TCP connections.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "runtime/transport/frame.hpp"
#include "runtime/transport/handshake.hpp"
#include "runtime/transport/network.hpp"
#include "runtime/transport/tls_context.hpp"

namespace troupe {

struct tcp_options {
  std::string bind_address = "127.0.0.1";
  std::uint16_t port = 0;         ///< 0: any that is free
  /// The host in `endpoint()`. Empty: the address bound to, or this machine's name where that is every address.
  std::string advertised_host{};

  std::string secret{};           ///< every node of a cluster has the same; may be empty
  std::string build{};            ///< at most 80 bytes; nodes of different builds refuse each other
  std::uint32_t protocol_version = tcp_protocol_version;
  std::optional<tls_options> tls{};  ///< none: links are neither encrypted nor protected against changes

  std::size_t window_bytes = std::size_t{256} << 20;  ///< of a link; while more wait, a send with tensors blocks
  /// Of a link: what may wait of messages without tensors, and of all that is sent from the network's own thread. More
  /// ends the link, with evidence: a receiver that is so far behind is of no use.
  std::size_t control_bytes_max = std::size_t{256} << 20;
  frame_limits limits{};

  failure_detection peers{};  ///< the other times here are looked at once in a heartbeat
  std::chrono::milliseconds handshake_timeout{5'000};
  std::chrono::milliseconds dial_timeout{10'000};     ///< for all of it: name, connection, handshake
  std::chrono::milliseconds close_timeout{5'000};     ///< for what was handed over before a `close`
  /// Connections that have not proved to know the secret; no more than a quarter of the descriptors that this process
  /// may have. One more ends the oldest of them. At least 1.
  std::size_t unauthenticated_max = 128;

  /// Called on the network's thread where a caller was turned away, whatever it was: for a log. Begins with the caller's
  /// address. Not for who goes away by itself before it has said who it is, as what probes a port does.
  std::function<void(const std::string& reason)> on_turned_away{};

  bool heartbeats = true;  ///< false: for tests of what others make of our silence
};

/// Binds at once; accepts from `start` on. Throws system_error where it cannot bind, input_error where a file of TLS's
/// cannot be used, and std::length_error where an option is too long.
///
/// The destructor ends all links, as death would, save those that were closed before: what was handed over to them
/// still leaves, within `close_timeout`. Senders that wait are let go, dials end as failed, and nothing is called
/// afterwards. A `send` from the network's own thread never blocks, tensors or not; one of a parcel beyond the limits
/// throws std::length_error.
std::unique_ptr<network> make_tcp_network(tcp_options options);

}  // namespace troupe
