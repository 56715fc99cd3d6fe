#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "runtime/checkpoint/format.hpp"
#include "runtime/checkpoint/sealed_file.hpp"
#include "runtime/checkpoint/store.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

/// A tensor whose bytes have yet to be compared with their checksum.
struct pending_check {
  const std::filesystem::path* file;
  std::string name;
  std::span<const std::byte> bytes;  ///< with the zeros after them
  checksum expected;
};

/// Reads what is to be checked once, on all cores. Throws input_error for the first that is wrong.
void verify(const std::vector<pending_check>& checks) {
  std::atomic<std::size_t> next{0};
  std::atomic<std::size_t> first_fault{checks.size()};
  const auto work = [&] {
    for (auto i = next.fetch_add(1); i < checks.size(); i = next.fetch_add(1)) {
      populate(checks[i].bytes);
      if (checksum_of(checks[i].bytes) == checks[i].expected)
        continue;
      auto lowest = first_fault.load();
      while (i < lowest && !first_fault.compare_exchange_weak(lowest, i)) {
      }
    }
  };
  {
    const auto helpers = std::min<std::size_t>(std::max(1u, std::thread::hardware_concurrency()), checks.size());
    std::vector<std::jthread> threads;
    for (std::size_t i = 1; i < helpers; ++i)
      threads.emplace_back(work);
    work();
  }
  if (const auto fault = first_fault.load(); fault < checks.size())
    throw faulty(*checks[fault].file, fmt::format("the checksum of tensor '{}' is wrong: its {} bytes are not those "
                                                  "that were written", checks[fault].name, checks[fault].bytes.size()));
}

manifest_message open_manifest(const std::filesystem::path& directory) {
  const auto file = directory / manifest_file_name;
  auto manifest = decode_manifest(sealed_file::open(file, file_kind::manifest).message, file);
  if (const auto step = step_of(directory); step && *step != manifest.about.step)
    throw faulty(file, fmt::format("is of step {}, in a folder of step {}", manifest.about.step, *step));
  return manifest;
}

}  // namespace

tensor cut::find(const std::string& name) const {
  for (const auto& shard : shards)
    for (const auto& tensor : shard.tensors)
      if (tensor.name == name)
        return tensor.value;
  return {};
}

cut_manifest read_manifest(const std::filesystem::path& directory) { return open_manifest(directory).about; }

cut read_cut(const std::filesystem::path& directory) {
  auto manifest = open_manifest(directory);
  cut result{directory, std::move(manifest.about), {}};
  std::vector<std::filesystem::path> files;
  for (std::uint32_t i = 0; i < manifest.shards.size(); ++i)
    files.push_back(directory / shard_file_name(i));
  std::vector<pending_check> checks;
  for (std::uint32_t i = 0; i < files.size(); ++i) {
    const auto& file = files[i];
    const auto sealed = sealed_file::open(file, file_kind::shard);
    if (sealed.message_checksum != manifest.shards[i].message ||
        sealed.mapping->size_bytes() != manifest.shards[i].size_bytes)
      throw faulty(file, "is not the file that the manifest tells of");
    auto message = decode_shard(sealed.message, sealed.payload_bytes, file);
    if (message.shard != i || message.step != result.manifest.step)
      throw faulty(file, fmt::format("holds shard {} of step {}; expected shard {} of step {}", message.shard,
                                     message.step, i, result.manifest.step));
    shard_snapshot part{message.shard, message.version, std::move(message.applied), {}};
    const auto payload = sealed.mapping->bytes().first(sealed.payload_bytes);
    for (auto& entry : message.tensors) {
      part.tensors.push_back({entry.name, tensor(sealed.mapping, entry.offset, entry.type, entry.extents)});
      checks.push_back({&file, std::move(entry.name),
                        payload.subspan(entry.offset, align_up(entry.size_bytes, tensor_alignment)), entry.sum});
    }
    result.shards.push_back(std::move(part));
  }
  verify(checks);
  return result;
}

}  // namespace troupe
