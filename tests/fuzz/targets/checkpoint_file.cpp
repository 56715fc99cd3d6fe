#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "runtime/checkpoint/format.hpp"
#include "runtime/checkpoint/sealed_file.hpp"
#include "runtime/error.hpp"
#include "tests/fuzz/fuzz.hpp"

// The bytes are a file of a checkpoint, or a run's journal, whose footer and table get the right checksums, so that what
// they say is looked at. That wrong checksums are noticed is tested elsewhere.

namespace {

using namespace troupe;

constexpr std::size_t footer_bytes = 64, own_checksum_at = 48, message_checksum_at = 32, message_offset_at = 16;

std::string contents(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string sealed(file_kind kind, std::size_t payload_bytes, const std::vector<std::byte>& message) {
  const auto file = fuzz::scratch_folder() / "seed";
  file_writer out(file, sealed_size(payload_bytes, message.size()), {});
  out.append(std::vector<std::byte>(payload_bytes, std::byte{7}));
  seal(out, kind, message, false);
  return contents(file);
}

std::span<const std::byte> part(const std::string& bytes, std::size_t first, std::size_t last) {
  return std::as_bytes(std::span(bytes)).subspan(first, last - first);
}

void set_checksums(std::string& file) {
  if (file.size() < footer_bytes)
    return;
  const auto footer = file.size() - footer_bytes;
  const auto put = [&](std::size_t at, const checksum& sum) { std::memcpy(&file[footer + at], &sum, sizeof(sum)); };
  std::uint64_t offset = 0;
  std::memcpy(&offset, &file[footer + message_offset_at], sizeof(offset));
  if (offset <= footer)
    put(message_checksum_at, checksum_of(part(file, offset, footer)));
  put(own_checksum_at, checksum_of(part(file, footer, footer + own_checksum_at)));
}

}  // namespace

std::vector<std::string> troupe::fuzz::seeds() {
  manifest_message manifest{{12, 3, 2, "2026-01-02T03:04:05Z", {{"run.toml", "[training]\nsteps = 1\n"}, {"t", ""}}},
                            {{4096, {1, 2}}, {8192, {3, 4}}}};
  shard_message shard{1, 12, 12, {{0, 12, 12}, {1, 12, 12}},
                      {{"blocks.0.norm1.weight", dtype::float32, {5, 7}, 0, 140, {5, 6}},
                       {"a", dtype::bfloat16, {2, 3, 1}, 192, 12, {7, 8}},
                       {"scalar", dtype::int64, {}, 256, 8, {9, 10}}}};
  journal_message journal{"8f1c", "77aa", 3, cut_id{2, 200}};
  return {sealed(file_kind::manifest, 0, encode(manifest)), sealed(file_kind::shard, 320, encode(shard)),
          sealed(file_kind::shard, 0, encode(shard_message{})), sealed(file_kind::journal, 0, encode(journal)),
          sealed(file_kind::journal, 0, encode(journal_message{}))};
}

void troupe::fuzz::read(std::string_view bytes) {
  std::string file(bytes);
  set_checksums(file);
  const auto path = scratch_file(file);
  try {
    const auto opened = sealed_file::open(path, file_kind::manifest);
    decode_manifest(opened.message, path);
    return;
  } catch (const input_error&) {
    // a journal, a shard, or nothing
  }
  try {
    const auto opened = sealed_file::open(path, file_kind::journal);
    const auto journal = decode_journal(opened.message, path);
    if (encode(journal) != encode(decode_journal(encode(journal), path)))
      throw std::logic_error("a journal does not say the same when it is written again");
    return;
  } catch (const input_error&) {
    // a shard, or nothing
  }
  const auto opened = sealed_file::open(path, file_kind::shard);
  for (const auto& entry : decode_shard(opened.message, opened.payload_bytes, path).tensors)
    checksum_of(opened.mapping->bytes().subspan(entry.offset, entry.size_bytes));
}
