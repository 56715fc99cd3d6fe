#pragma once

/// What stands on the wire between two nodes that have shaken hands: frames, each a prefix, an envelope and the bytes
/// of tensors. The layout is told in README.md.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/transport/parcel.hpp"

namespace troupe {

struct frame_limits {
  std::size_t envelope_bytes_max = std::size_t{64} << 20;
  std::size_t tensor_bytes_max = std::size_t{4} << 30;  ///< of all tensors of one parcel, whichever way they travel
};

/// Of one parcel. A descriptor takes more memory than it takes room in an envelope.
inline constexpr std::size_t tensors_max = 65'536;

enum class frame_kind : std::uint32_t {
  parcel = 1,
  heartbeat = 2,  ///< says only that the sender is alive
  goodbye = 3,    ///< the last of a link: its sender closed it
};

struct frame_prefix {
  frame_kind kind = frame_kind::heartbeat;
  std::size_t envelope_bytes = 0;
  std::size_t payload_bytes = 0;
};

inline constexpr std::size_t frame_prefix_bytes = 24;

/// Throws input_error where the bytes are no prefix, or announce more than the limits allow.
frame_prefix decode_prefix(std::span<const std::byte, frame_prefix_bytes> bytes, const frame_limits& limits);

/// A whole frame that has no payload.
std::array<std::byte, frame_prefix_bytes> encode_prefix(const frame_prefix& prefix);

/// Prefix and envelope; the elements of the tensors follow them on the wire. Throws std::length_error where the parcel
/// exceeds the limits.
std::vector<std::byte> encode_head(const parcel& message, const frame_limits& limits);

/// A tensor as it is announced; absent where no bytes of it follow.
struct tensor_head {
  bool absent = false;
  tensor_form form;
};

/// A parcel whose tensors are yet to come: `message.tensors` is empty, `message.beside` is not.
struct announced_parcel {
  parcel message;
  std::vector<tensor_head> tensors;
};

/// REQUIRES: `envelope` is aligned to 8 bytes. Throws input_error where it is malformed, or where its tensors do not
/// take `payload_bytes`, or more than the limit together with those that travel by a device link.
announced_parcel decode_envelope(std::span<const std::byte> envelope, std::size_t payload_bytes,
                                 const frame_limits& limits);

}  // namespace troupe
