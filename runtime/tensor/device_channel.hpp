#pragma once

/// One-way streets for tensors, from a GPU of one process straight to a GPU of another. A library of devices makes them
/// (device_module.hpp); `runtime/transport/device_links.hpp` decides what travels on them.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/tensor/tensor.hpp"

namespace troupe {

/// Drawn by one end and told to the other, which finds it by that.
using channel_id = std::array<std::byte, 128>;

enum class channel_end : std::uint8_t { sending, receiving };

/// A tensor that is yet to come.
struct tensor_form {
  dtype type = dtype::float32;
  shape extents;

  friend bool operator==(const tensor_form&, const tensor_form&) = default;
};

/// Tensors on their way in.
class incoming_tensors {
 public:
  virtual ~incoming_tensors() = default;
  /// Waits on the host until they are there, all of them whole. Throws device_error where they never will be.
  virtual std::vector<tensor> wait() = 0;
};

/// One end of a channel. Its two ends must make the same calls in the same order: what the one sends, the other receives,
/// of the same types and shapes.
///
/// Every call throws device_error once the channel is broken. Thread safe.
class device_channel {
 public:
  /// Breaks it.
  virtual ~device_channel() = default;

  /// Whether it can be used; false while the two ends are looking for each other. Never waits. To be asked now and then
  /// also later: it gives back the memory of what was sent, and finds out that the other end is gone.
  virtual bool is_ready() = 0;
  /// Enqueues and returns; the tensors may be dropped, or written, at once: no device waits for the other end before it
  /// computes. They may be on any device of this process but the host. False: as much is under way as may be, and nothing
  /// happened. REQUIRES: it is ready, and this is its sending end.
  virtual bool send(std::span<const tensor> what) = 0;
  /// Takes memory, enqueues and returns. REQUIRES: it is ready, and this is its receiving end.
  virtual std::unique_ptr<incoming_tensors> receive(std::span<const tensor_form> what) = 0;
  /// Breaks it and returns; soon whoever waits for the other end, on the host or on a device, is let go.
  virtual void break_off() = 0;
};

/// Makes channels of one GPU. Thread safe.
class channel_maker {
 public:
  /// When it and its channels are gone they have let everybody go, or gave up after some seconds.
  virtual ~channel_maker() = default;
  /// Names the GPU: equal where two processes use the same one, which have no channel to each other.
  virtual std::string gpu() const = 0;
  /// How channels of this process would work better; empty: nobody knows.
  virtual std::string advice() const { return {}; }
  /// Throws device_error, as `open` does.
  virtual channel_id draw_id() = 0;
  /// Begins to look for the other end.
  virtual std::unique_ptr<device_channel> open(const channel_id& id, channel_end end) = 0;
};

}  // namespace troupe
