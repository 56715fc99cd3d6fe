#include "runtime/checkpoint/sealed_file.hpp"

#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include <fmt/format.h>

namespace troupe {

namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and read in place");

constexpr std::array<char, 8> magic{'T', 'R', 'O', 'U', 'P', 'E', 'C', 'K'};
constexpr std::uint32_t format_version = 1;

struct footer {
  std::array<char, 8> magic;
  std::uint32_t version;
  file_kind kind;
  std::uint64_t message_offset;
  std::uint64_t message_bytes;
  checksum message_checksum;
  checksum footer_checksum;
};
static_assert(sizeof(footer) == 64);

checksum own_checksum(const footer& value) noexcept {
  return checksum_of(std::as_bytes(std::span(&value, 1)).first(offsetof(footer, footer_checksum)));
}

}  // namespace

const char* describe(file_kind kind) noexcept {
  switch (kind) {
    case file_kind::manifest: return "a manifest";
    case file_kind::shard: return "a shard";
    case file_kind::journal: return "a journal";
  }
  return "a file of an unknown kind";
}

input_error faulty(const std::filesystem::path& file, const std::string& fault) {
  return input_error(fmt::format("{}: {}", file.string(), fault));
}

std::uint64_t sealed_size(std::uint64_t payload_bytes, std::uint64_t message_bytes) noexcept {
  return align_up(payload_bytes + message_bytes + sizeof(footer), file_writer::granule_bytes);
}

checksum seal(file_writer& out, file_kind kind, std::span<const std::byte> message, bool flush) {
  footer end{magic, format_version, kind, out.offset(), message.size(), {}, {}};
  std::vector<std::byte> rest(message.begin(), message.end());
  rest.resize(sealed_size(out.offset(), message.size()) - out.offset() - sizeof(footer));
  end.message_checksum = checksum_of(rest);
  end.footer_checksum = own_checksum(end);
  out.append(rest);
  out.append(std::as_bytes(std::span(&end, 1)));
  out.finish(flush);
  return end.message_checksum;
}

sealed_file sealed_file::open(const std::filesystem::path& file, file_kind kind) {
  sealed_file result;
  result.mapping = mapped_file::open(file);
  const auto bytes = result.mapping->bytes();
  if (bytes.size() < file_writer::granule_bytes || bytes.size() % file_writer::granule_bytes != 0)
    throw faulty(file, fmt::format("{} bytes is no size that such a file has: truncated, or not written to its end",
                                   bytes.size()));
  footer end;
  std::memcpy(&end, bytes.data() + bytes.size() - sizeof(end), sizeof(end));
  if (end.magic != magic)
    throw faulty(file, "does not end as a checkpoint file does: truncated, or not written to its end");
  if (end.footer_checksum != own_checksum(end))
    throw faulty(file, "the footer's checksum is wrong");
  if (end.version != format_version)
    throw faulty(file, fmt::format("format version {}; this program reads version {}", end.version, format_version));
  if (end.kind != kind)
    throw faulty(file, fmt::format("{} where {} was expected", describe(end.kind), describe(kind)));
  if (end.message_offset > bytes.size() || end.message_bytes > bytes.size() ||
      end.message_offset % tensor_alignment != 0 ||
      sealed_size(end.message_offset, end.message_bytes) != bytes.size())
    throw faulty(file, fmt::format("the footer tells of {} bytes at {} in a file of {}", end.message_bytes,
                                   end.message_offset, bytes.size()));
  const auto rest = bytes.subspan(end.message_offset, bytes.size() - end.message_offset - sizeof(footer));
  if (checksum_of(rest) != end.message_checksum)
    throw faulty(file, "the table's checksum is wrong");
  result.payload_bytes = end.message_offset;
  result.message = rest.first(end.message_bytes);
  result.message_checksum = end.message_checksum;
  return result;
}

}  // namespace troupe
