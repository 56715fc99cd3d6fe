#include "runtime/transport/frame.hpp"

#include <cstring>
#include <stdexcept>

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <fmt/format.h>
#include <kj/exception.h>
#include <kj/io.h>

#include "runtime/error.hpp"
#include "runtime/wire/parcel.capnp.h"

namespace troupe {

namespace {

static_assert(std::endian::native == std::endian::little, "numbers go over the wire as they lie in memory");

constexpr std::uint32_t frame_magic = 0x50525254;  // "TRRP"

std::string to_string(capnp::Text::Reader text) { return {text.begin(), text.size()}; }

void write(wire::Address::Builder out, const actor_address& value) {
  out.setNode(value.node);
  out.setName(kj::StringPtr(value.name.c_str(), value.name.size()));
  out.setIncarnation(value.incarnation);
}

actor_address read(wire::Address::Reader in) {
  return {in.getNode(), to_string(in.getName()), in.getIncarnation()};
}

void write(wire::TensorHead::Builder out, const tensor_form& form) {
  out.setType(static_cast<wire::ElementType>(form.type));
  auto extents = out.initExtents(static_cast<unsigned>(form.extents.rank()));
  for (unsigned axis = 0; axis < extents.size(); ++axis)
    extents.set(axis, form.extents[axis]);
}

/// Adds the tensor's bytes to `sum`.
tensor_form read(wire::TensorHead::Reader in, std::size_t& sum) {
  tensor_form out;
  out.type = static_cast<dtype>(in.getType());
  std::size_t bytes = size_bytes(out.type);
  if (bytes == 0)
    throw input_error(fmt::format("a tensor has unknown element type {}", static_cast<int>(in.getType())));
  const auto given = in.getExtents();
  if (given.size() > shape::rank_max)
    throw input_error(fmt::format("a tensor has {} extents, more than {}", given.size(), shape::rank_max));
  std::array<std::int64_t, shape::rank_max> extents{};
  for (unsigned axis = 0; axis < given.size(); ++axis) {
    extents[axis] = given[axis];
    if (extents[axis] < 0 || __builtin_mul_overflow(bytes, static_cast<std::size_t>(extents[axis]), &bytes))
      throw input_error("a tensor has extents that no tensor has");
  }
  if (__builtin_add_overflow(sum, bytes, &sum))
    throw input_error("tensors are larger than memory");
  out.extents = shape(std::span(extents.data(), given.size()));
  return out;
}

announced_parcel read(wire::Parcel::Reader in, std::size_t payload_bytes, std::size_t tensor_bytes_max) {
  announced_parcel out;
  out.message.to = read(in.getTo());
  out.message.from = read(in.getFrom());
  out.message.type = to_string(in.getType());
  const auto body = in.getBody();
  const auto* first = reinterpret_cast<const std::byte*>(body.begin());
  out.message.body.assign(first, first + body.size());
  const auto tensors = in.getTensors();
  if (tensors.size() > tensors_max)
    throw input_error(fmt::format("a parcel has {} tensors, more than {}", tensors.size(), tensors_max));
  out.message.device_link = in.getDeviceLink();
  std::size_t bytes = 0, bytes_beside = 0;
  for (auto each : tensors) {
    auto& head = out.tensors.emplace_back();
    head.absent = each.getAbsent() || each.getByDeviceLink();
    if (each.getByDeviceLink()) {
      const auto before = bytes_beside;
      out.message.beside.push_back({out.tensors.size() - 1, read(each, bytes_beside)});
      if (bytes_beside == before)
        throw input_error("a tensor without elements travels by a device link");
    } else if (!head.absent) {
      head.form = read(each, bytes);
    }
  }
  if (out.message.beside.empty() != (out.message.device_link == 0))
    throw input_error("a parcel names a device link without tensors that travel by it, or such tensors without a link");
  if (bytes != payload_bytes)
    throw input_error(fmt::format("tensors of {} bytes were announced with a payload of {}", bytes, payload_bytes));
  // The payload alone is within the limit, or its prefix would have been refused.
  if (bytes > tensor_bytes_max || bytes_beside > tensor_bytes_max - bytes)
    throw input_error(fmt::format("tensors of {} bytes, and of {} by a device link, exceed the limit of {}", bytes,
                                  bytes_beside, tensor_bytes_max));
  return out;
}

}  // namespace

std::array<std::byte, frame_prefix_bytes> encode_prefix(const frame_prefix& prefix) {
  std::array<std::byte, frame_prefix_bytes> out;
  const std::uint64_t envelope_bytes = prefix.envelope_bytes, payload_bytes = prefix.payload_bytes;
  std::memcpy(&out[0], &frame_magic, 4);
  std::memcpy(&out[4], &prefix.kind, 4);
  std::memcpy(&out[8], &envelope_bytes, 8);
  std::memcpy(&out[16], &payload_bytes, 8);
  return out;
}

frame_prefix decode_prefix(std::span<const std::byte, frame_prefix_bytes> bytes, const frame_limits& limits) {
  std::uint32_t magic = 0, kind = 0;
  std::uint64_t envelope_bytes = 0, payload_bytes = 0;
  std::memcpy(&magic, &bytes[0], 4);
  std::memcpy(&kind, &bytes[4], 4);
  std::memcpy(&envelope_bytes, &bytes[8], 8);
  std::memcpy(&payload_bytes, &bytes[16], 8);
  if (magic != frame_magic)
    throw input_error(fmt::format("a frame begins with {:#x} instead of {:#x}", magic, frame_magic));
  if (kind < static_cast<std::uint32_t>(frame_kind::parcel) || kind > static_cast<std::uint32_t>(frame_kind::goodbye))
    throw input_error(fmt::format("a frame is of unknown kind {}", kind));
  const frame_prefix out{static_cast<frame_kind>(kind), envelope_bytes, payload_bytes};
  if (out.kind != frame_kind::parcel && (envelope_bytes != 0 || payload_bytes != 0))
    throw input_error("a frame that is no parcel has content");
  if (envelope_bytes > limits.envelope_bytes_max)
    throw input_error(fmt::format("an envelope of {} bytes exceeds the limit of {}", envelope_bytes,
                                  limits.envelope_bytes_max));
  if (envelope_bytes % sizeof(capnp::word) != 0)
    throw input_error(fmt::format("an envelope of {} bytes is not made of whole words", envelope_bytes));
  if (payload_bytes > limits.tensor_bytes_max)
    throw input_error(fmt::format("a payload of {} bytes exceeds the limit of {}", payload_bytes,
                                  limits.tensor_bytes_max));
  return out;
}

std::vector<std::byte> encode_head(const parcel& message, const frame_limits& limits) {
  // Most messages fit in here and need no allocation before the result's.
  capnp::word scratch[256] = {};
  capnp::MallocMessageBuilder builder(kj::arrayPtr(scratch, std::size(scratch)));
  auto out = builder.initRoot<wire::Parcel>();
  write(out.initTo(), message.to);
  if (message.from)
    write(out.initFrom(), message.from);
  out.setType(kj::StringPtr(message.type.c_str(), message.type.size()));
  out.setBody(kj::arrayPtr(reinterpret_cast<const kj::byte*>(message.body.data()), message.body.size()));
  if (message.tensors.size() > tensors_max)
    throw std::length_error(fmt::format("a parcel of type {} has {} tensors, more than {}", message.type,
                                        message.tensors.size(), tensors_max));
  auto tensors = out.initTensors(static_cast<unsigned>(message.tensors.size()));
  frame_prefix prefix{frame_kind::parcel, 0, 0};
  for (unsigned i = 0; i < tensors.size(); ++i) {
    const auto& each = message.tensors[i];
    tensors[i].setAbsent(!each);
    if (!each)
      continue;
    write(tensors[i], {each.type(), each.shape()});
    prefix.payload_bytes += each.size_bytes();
  }
  out.setDeviceLink(message.device_link);
  std::size_t tensor_bytes = prefix.payload_bytes;
  for (const auto& each : message.beside) {
    tensor_bytes += static_cast<std::size_t>(each.form.extents.count()) * size_bytes(each.form.type);
    auto head = tensors[static_cast<unsigned>(each.place)];
    head.setByDeviceLink(true);
    write(head, each.form);
  }
  prefix.envelope_bytes = capnp::computeSerializedSizeInWords(builder) * sizeof(capnp::word);
  if (prefix.envelope_bytes > limits.envelope_bytes_max || tensor_bytes > limits.tensor_bytes_max)
    throw std::length_error(fmt::format("a parcel of type {} has an envelope of {} bytes and tensors of {}, more than "
                                        "{} and {}", message.type, prefix.envelope_bytes, tensor_bytes,
                                        limits.envelope_bytes_max, limits.tensor_bytes_max));

  std::vector<std::byte> bytes(frame_prefix_bytes + prefix.envelope_bytes);
  const auto head = encode_prefix(prefix);
  std::memcpy(bytes.data(), head.data(), head.size());
  kj::ArrayOutputStream stream(
      kj::arrayPtr(reinterpret_cast<kj::byte*>(bytes.data()) + frame_prefix_bytes, prefix.envelope_bytes));
  capnp::writeMessage(stream, builder);
  return bytes;
}

announced_parcel decode_envelope(std::span<const std::byte> envelope, std::size_t payload_bytes,
                                 const frame_limits& frame) {
  const auto words = envelope.size() / sizeof(capnp::word);
  // Each part is read once. The limit keeps pointers that share a target from making a small envelope large.
  capnp::ReaderOptions limits;
  limits.traversalLimitInWords = 64 + words * 2;
  limits.nestingLimit = 8;
  try {
    capnp::FlatArrayMessageReader reader(
        kj::arrayPtr(reinterpret_cast<const capnp::word*>(envelope.data()), words), limits);
    return read(reader.getRoot<wire::Parcel>(), payload_bytes, frame.tensor_bytes_max);
  } catch (const kj::Exception& error) {
    throw input_error(fmt::format("an envelope is malformed: {}", error.getDescription().cStr()));
  }
}

}  // namespace troupe
