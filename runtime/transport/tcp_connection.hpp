#pragma once

#include <new>

#include <fmt/format.h>

#include "runtime/transport/tcp_loop.hpp"

namespace troupe {

/// One connection, from its first byte or a dial's first try to its end.
struct tcp_loop::connection {
  enum class phase : std::uint8_t {
    resolving,    ///< a dial waits for the host's address
    connecting,
    handshaking,
    open,
    draining,     ///< nothing comes from it any more; what was handed over leaves
  };

  link_id id = 0;
  phase at = phase::resolving;
  clock::time_point deadline = clock::time_point::max();  ///< of the phase
  std::shared_ptr<const descriptor> socket;
  std::string peer;                                       ///< its endpoint, for people
  std::shared_ptr<byte_stream> stream;
  std::shared_ptr<outbox> out;

  // -- of a dial, until it was told how it ended --------------------------------
  std::function<void(dial_result)> done;
  std::string introduction;
  std::vector<socket_address> addresses;                  ///< still to be tried, the next one last
  socket_address address;                                 ///< that is being tried
  std::string failure;                                    ///< of the one before

  std::optional<handshake> shake;                         ///< once the stream is secure
  bool is_stranger = false;                               ///< accepted, and has not proved to know the secret
  std::vector<std::byte> input;                           ///< that the handshake has not taken yet

  // -- of an open link -----------------------------------------------------------
  std::optional<frame_reader> reader;
  std::function<bool(parcel)> deliver;
  std::optional<phi_detector> detector;
  bool is_fenced = false;                                 ///< given up for its silence: drains to tell it so
};

template <class Take>
bool tcp_loop::take_frames(connection& c, Take take) {
  try {
    return take();
  } catch (const input_error& error) {
    give_up(c, fmt::format("what it sent is no message: {}", error.what()));
  } catch (const std::bad_alloc&) {
    give_up(c, "there is no memory for what it sent");
  }
  return false;
}

}  // namespace troupe
