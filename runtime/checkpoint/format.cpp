#include "runtime/checkpoint/format.hpp"

#include <array>
#include <optional>
#include <set>
#include <utility>

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <fmt/format.h>
#include <kj/exception.h>

#include "runtime/checkpoint/sealed_file.hpp"
#include "runtime/error.hpp"
#include "runtime/wire/checkpoint.capnp.h"

namespace troupe {

namespace {

static_assert(static_cast<int>(wire::ElementType::FLOAT32) == static_cast<int>(dtype::float32) &&
              static_cast<int>(wire::ElementType::FLOAT64) == static_cast<int>(dtype::float64) &&
              static_cast<int>(wire::ElementType::BFLOAT16) == static_cast<int>(dtype::bfloat16) &&
              static_cast<int>(wire::ElementType::FLOAT16) == static_cast<int>(dtype::float16) &&
              static_cast<int>(wire::ElementType::INT64) == static_cast<int>(dtype::int64) &&
              static_cast<int>(wire::ElementType::INT32) == static_cast<int>(dtype::int32) &&
              static_cast<int>(wire::ElementType::UINT16) == static_cast<int>(dtype::uint16) &&
              static_cast<int>(wire::ElementType::UINT8) == static_cast<int>(dtype::uint8));

std::vector<std::byte> to_bytes(capnp::MallocMessageBuilder& message) {
  const auto words = capnp::messageToFlatArray(message);
  const auto bytes = words.asBytes();
  const auto* first = reinterpret_cast<const std::byte*>(bytes.begin());
  return {first, first + bytes.size()};
}

void write(wire::Checksum::Builder out, const checksum& value) {
  out.setLow(value.low);
  out.setHigh(value.high);
}

checksum read(wire::Checksum::Reader in) { return {in.getLow(), in.getHigh()}; }

std::string to_string(capnp::Text::Reader text) { return {text.begin(), text.size()}; }

/// Calls `read` with the message's reader; turns what Cap'n Proto finds wrong into an input_error.
template <class Message, class F>
auto decode(std::span<const std::byte> message, const std::filesystem::path& file, F read) {
  // Each part is read once or twice. The limit keeps pointers that share a target from making a small file large.
  capnp::ReaderOptions limits;
  limits.traversalLimitInWords = 64 + message.size() / sizeof(capnp::word) * 2;
  limits.nestingLimit = 8;
  try {
    capnp::FlatArrayMessageReader reader(
        kj::arrayPtr(reinterpret_cast<const capnp::word*>(message.data()), message.size() / sizeof(capnp::word)),
        limits);
    return read(reader.template getRoot<Message>());
  } catch (const kj::Exception& error) {
    throw faulty(file, fmt::format("the table is malformed: {}", error.getDescription().cStr()));
  }
}

/// The shape, and its size in bytes; nothing where there is no such tensor.
std::optional<std::pair<shape, std::uint64_t>> read_extents(capnp::List<std::int64_t>::Reader in, dtype type) {
  if (in.size() > shape::rank_max)
    return std::nullopt;
  std::array<std::int64_t, shape::rank_max> extents{};
  std::uint64_t bytes = size_bytes(type);
  for (unsigned axis = 0; axis < in.size(); ++axis) {
    extents[axis] = in[axis];
    if (in[axis] < 0 || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(in[axis]), &bytes))
      return std::nullopt;
  }
  return std::pair{shape(std::span(extents.data(), in.size())), bytes};
}

tensor_entry read_tensor(wire::Tensor::Reader in, const std::filesystem::path& file) {
  tensor_entry out;
  out.name = to_string(in.getName());
  out.type = static_cast<dtype>(in.getType());
  if (size_bytes(out.type) == 0)
    throw faulty(file, fmt::format("tensor '{}' has unknown element type {}", out.name,
                                   static_cast<int>(in.getType())));
  const auto extents = read_extents(in.getExtents(), out.type);
  if (!extents || extents->second != in.getSizeBytes())
    throw faulty(file, fmt::format("tensor '{}' has a shape that does not go with its {} bytes", out.name,
                                   in.getSizeBytes()));
  out.extents = extents->first;
  out.offset = in.getOffset();
  out.size_bytes = in.getSizeBytes();
  out.sum = read(in.getChecksum());
  return out;
}

}  // namespace

std::string shard_file_name(std::uint32_t shard) { return fmt::format("shard-{:04}.bin", shard); }

std::vector<std::byte> encode(const manifest_message& value) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<wire::Manifest>();
  out.setStep(value.about.step);
  out.setEpoch(value.about.epoch);
  out.setCreated(value.about.created);
  auto documents = out.initDocuments(static_cast<unsigned>(value.about.documents.size()));
  unsigned index = 0;
  for (const auto& [name, content] : value.about.documents) {
    documents[index].setName(name);
    documents[index++].setContent(kj::StringPtr(content.c_str(), content.size()).asBytes());
  }
  auto shards = out.initShards(static_cast<unsigned>(value.shards.size()));
  for (unsigned i = 0; i < shards.size(); ++i) {
    shards[i].setSizeBytes(value.shards[i].size_bytes);
    write(shards[i].initChecksum(), value.shards[i].message);
  }
  return to_bytes(message);
}

manifest_message decode_manifest(std::span<const std::byte> message, const std::filesystem::path& file) {
  return decode<wire::Manifest>(message, file, [&](wire::Manifest::Reader in) {
    manifest_message out;
    out.about.step = in.getStep();
    out.about.epoch = in.getEpoch();
    out.about.created = to_string(in.getCreated());
    for (auto document : in.getDocuments()) {
      const auto content = document.getContent();
      out.about.documents.emplace(to_string(document.getName()),
                                  std::string(reinterpret_cast<const char*>(content.begin()), content.size()));
    }
    for (auto shard : in.getShards())
      out.shards.push_back({shard.getSizeBytes(), read(shard.getChecksum())});
    out.about.shard_count = static_cast<std::uint32_t>(out.shards.size());
    return out;
  });
}

std::vector<std::byte> encode(const shard_message& value) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<wire::Shard>();
  out.setShard(value.shard);
  out.setStep(value.step);
  out.setVersion(value.version);
  auto lanes = out.initLanes(static_cast<unsigned>(value.applied.size()));
  for (unsigned i = 0; i < lanes.size(); ++i) {
    lanes[i].setLane(value.applied[i].lane);
    lanes[i].setNextStep(value.applied[i].next_step);
    lanes[i].setApplied(value.applied[i].applied);
  }
  auto tensors = out.initTensors(static_cast<unsigned>(value.tensors.size()));
  for (unsigned i = 0; i < tensors.size(); ++i) {
    const auto& entry = value.tensors[i];
    tensors[i].setName(entry.name);
    tensors[i].setType(static_cast<wire::ElementType>(entry.type));
    auto extents = tensors[i].initExtents(static_cast<unsigned>(entry.extents.rank()));
    for (unsigned axis = 0; axis < extents.size(); ++axis)
      extents.set(axis, entry.extents[axis]);
    tensors[i].setOffset(entry.offset);
    tensors[i].setSizeBytes(entry.size_bytes);
    write(tensors[i].initChecksum(), entry.sum);
  }
  return to_bytes(message);
}

shard_message decode_shard(std::span<const std::byte> message, std::uint64_t payload_bytes,
                           const std::filesystem::path& file) {
  return decode<wire::Shard>(message, file, [&](wire::Shard::Reader in) {
    shard_message out;
    out.shard = in.getShard();
    out.step = in.getStep();
    out.version = in.getVersion();
    for (auto lane : in.getLanes())
      out.applied.push_back({lane.getLane(), lane.getNextStep(), lane.getApplied()});
    std::set<std::string> names;
    std::uint64_t end = 0;
    for (auto tensor : in.getTensors()) {
      auto entry = read_tensor(tensor, file);
      if (!names.insert(entry.name).second)
        throw faulty(file, fmt::format("two tensors are named '{}'", entry.name));
      if (entry.offset != end || entry.size_bytes > payload_bytes - end)
        throw faulty(file, fmt::format("tensor '{}' ({} bytes at {}) does not lie where the one before it ends, "
                                       "within {} bytes", entry.name, entry.size_bytes, entry.offset, payload_bytes));
      end = align_up(end + entry.size_bytes, tensor_alignment);
      out.tensors.push_back(std::move(entry));
    }
    if (end != payload_bytes)
      throw faulty(file, fmt::format("tensors take {} bytes of {}", end, payload_bytes));
    return out;
  });
}

std::vector<std::byte> encode(const journal_message& value) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<wire::Journal>();
  out.setRun(value.run);
  out.setHead(value.head);
  out.setEpoch(value.epoch);
  if (value.in_memory) {
    auto cut = out.initInMemory();
    cut.setEpoch(value.in_memory->epoch);
    cut.setStep(value.in_memory->step);
  }
  return to_bytes(message);
}

journal_message decode_journal(std::span<const std::byte> message, const std::filesystem::path& file) {
  return decode<wire::Journal>(message, file, [&](wire::Journal::Reader in) {
    journal_message out{to_string(in.getRun()), to_string(in.getHead()), in.getEpoch(), {}};
    if (in.hasInMemory())
      out.in_memory = {in.getInMemory().getEpoch(), in.getInMemory().getStep()};
    return out;
  });
}

}  // namespace troupe
