#include "runtime/transport/frame_reader.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/tensor/device.hpp"

namespace troupe {

namespace {

constexpr std::size_t staging_bytes = 64 * 1024;
constexpr std::size_t pieces_max = 64;                          // of one call to the system
constexpr std::size_t kept_envelope_words = 128 * 1024;         // a larger one is not kept for the next

/// Moves the front of a piece on.
void advance(iovec& piece, std::size_t bytes) noexcept {
  piece.iov_base = static_cast<std::byte*>(piece.iov_base) + bytes;
  piece.iov_len -= bytes;
}

}  // namespace

frame_reader::frame_reader(const frame_limits& limits) : limits_(limits), staging_(staging_bytes) {}

std::span<iovec> frame_reader::room() {
  room_.clear();
  for (auto i = target_; i < targets_.size() && room_.size() < pieces_max; ++i)
    room_.push_back(targets_[i]);
  if (room_.size() == targets_.size() - target_)
    room_.push_back({staging_.data() + end_, staging_.size() - end_});
  return room_;
}

void frame_reader::settle() noexcept {
  while (target_ < targets_.size() && targets_[target_].iov_len == 0)
    ++target_;
}

bool frame_reader::filled(std::size_t bytes, const std::function<bool(parcel)>& deliver) {
  while (bytes > 0 && target_ < targets_.size()) {
    const auto taken = std::min(bytes, targets_[target_].iov_len);
    advance(targets_[target_], taken);
    bytes -= taken;
    settle();
  }
  end_ += bytes;
  for (bool whole = true; whole;) {
    switch (next_) {
      case part::prefix:
        whole = read_prefix();
        break;
      case part::envelope:
        whole = read_envelope();
        break;
      case part::payload:
        whole = read_payload();
        if (whole && !deliver(std::exchange(message_, {})))
          return false;
        break;
    }
  }
  // What is left is part of a prefix at most: everything else has its own place.
  std::memmove(staging_.data(), staging_.data() + begin_, end_ - begin_);
  end_ -= std::exchange(begin_, 0);
  return true;
}

bool frame_reader::take(std::span<const std::byte> bytes, const std::function<bool(parcel)>& deliver) {
  while (!bytes.empty()) {
    std::size_t taken = 0;
    for (const auto& piece : room()) {
      const auto fits = std::min(piece.iov_len, bytes.size() - taken);
      std::memcpy(piece.iov_base, bytes.data() + taken, fits);
      taken += fits;
    }
    if (!filled(taken, deliver))
      return false;
    bytes = bytes.subspan(taken);
  }
  return true;
}

bool frame_reader::read_prefix() {
  if (staged().size() < frame_prefix_bytes)
    return false;
  prefix_ = decode_prefix(staged().first<frame_prefix_bytes>(), limits_);
  begin_ += frame_prefix_bytes;
  said_goodbye_ = said_goodbye_ || prefix_.kind == frame_kind::goodbye;
  if (prefix_.kind != frame_kind::parcel)
    return true;
  envelope_.resize(prefix_.envelope_bytes / sizeof(std::uint64_t));
  targets_.assign(1, {envelope_.data(), prefix_.envelope_bytes});
  target_ = 0;
  settle();
  next_ = part::envelope;
  return true;
}

/// Gives the memory that waits what is staged already; whether it is full then.
bool frame_reader::read_payload() {
  while (target_ < targets_.size() && begin_ < end_) {
    auto& piece = targets_[target_];
    const auto taken = std::min(piece.iov_len, end_ - begin_);
    std::memcpy(piece.iov_base, staging_.data() + begin_, taken);
    begin_ += taken;
    advance(piece, taken);
    settle();
  }
  if (target_ < targets_.size())
    return false;
  next_ = part::prefix;
  return true;
}

bool frame_reader::read_envelope() {
  if (!read_payload())
    return false;
  auto announced = decode_envelope(std::as_bytes(std::span(envelope_)), prefix_.payload_bytes, limits_);
  if (envelope_.size() > kept_envelope_words)
    std::vector<std::uint64_t>().swap(envelope_);
  message_ = std::move(announced.message);
  targets_.clear();
  target_ = 0;
  for (const auto& head : announced.tensors) {
    // From the device's pool: the next step's tensors take this one's memory.
    auto& value = message_.tensors.emplace_back();
    if (head.absent)
      continue;
    value = cpu_device().allocate(head.form.type, head.form.extents);
    targets_.push_back({value.mutable_bytes(), value.size_bytes()});
  }
  settle();
  next_ = part::payload;
  return true;
}

}  // namespace troupe
