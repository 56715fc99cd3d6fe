#pragma once

/// Turns the bytes of a link into parcels, wherever the bytes come from.

#include <sys/uio.h>

#include <functional>

#include "runtime/transport/frame.hpp"

namespace troupe {

/// Small frames are cut out of a staging buffer. Once an envelope has told what follows, elements of tensors are
/// received where they will stay: `room` is that memory, and the staging buffer behind it.
class frame_reader {
 public:
  explicit frame_reader(const frame_limits& limits);

  /// Where the next bytes belong. Valid until the next call.
  std::span<iovec> room();

  /// Takes note that the first `bytes` of `room` were filled. Gives each parcel that is complete to `deliver`, which
  /// returns whether to go on; so does this. Throws input_error where the bytes are no frames. After either the reader
  /// is of no use.
  bool filled(std::size_t bytes, const std::function<bool(parcel)>& deliver);

  /// `room` and `filled` for bytes that are elsewhere already.
  bool take(std::span<const std::byte> bytes, const std::function<bool(parcel)>& deliver);

  /// Whether the other side said that it ends the link.
  bool said_goodbye() const noexcept { return said_goodbye_; }

 private:
  enum class part { prefix, envelope, payload };

  bool read_prefix();
  bool read_envelope();
  bool read_payload();
  /// Skips targets that are full.
  void settle() noexcept;
  std::span<const std::byte> staged() const noexcept { return std::span(staging_).subspan(begin_, end_ - begin_); }

  frame_limits limits_;
  part next_ = part::prefix;
  std::vector<std::byte> staging_;
  std::size_t begin_ = 0;  ///< of what is staged and was not looked at yet
  std::size_t end_ = 0;

  frame_prefix prefix_;
  std::vector<std::uint64_t> envelope_;  ///< aligned, as Cap'n Proto wants it
  parcel message_;
  std::vector<iovec> targets_;           ///< memory that waits for bytes before the staging buffer does
  std::size_t target_ = 0;               ///< the first that is not full
  std::vector<iovec> room_;
  bool said_goodbye_ = false;
};

}  // namespace troupe
