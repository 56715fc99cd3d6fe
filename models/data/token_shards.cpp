#include "models/data/token_shards.hpp"

#include <fmt/format.h>

#include <cstring>

#include "models/data/path_pattern.hpp"
#include "runtime/checkpoint/mapped_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

constexpr std::size_t header_bytes = 256 * sizeof(std::int32_t);

struct shard_format {
  std::int32_t magic, version;
  std::size_t token_bytes;
};
constexpr shard_format formats[] = {{20240520, 1, 2}, {20240801, 7, 4}};
constexpr std::int32_t multiple_choice_magic = 20240522;

std::int32_t header_field(std::string_view bytes, std::size_t index) {
  std::int32_t value;
  std::memcpy(&value, bytes.data() + index * sizeof value, sizeof value);
  return value;
}

}  // namespace

token_segment open_token_shard(const std::filesystem::path& path) {
  const auto refuse = [&](const std::string& why) { throw input_error(fmt::format("{}: {}", path.string(), why)); };
  const auto file = mapped_file::open(path);
  std::string_view bytes = file->text();
  std::size_t token_bytes = 2;
  const std::int32_t magic = bytes.size() >= header_bytes ? header_field(bytes, 0) : 0;
  if (magic == multiple_choice_magic)
    refuse("a file of multiple-choice questions, expected tokens to train on");
  for (const shard_format& format : formats) {
    if (magic != format.magic)
      continue;
    if (const std::int32_t version = header_field(bytes, 1); version != format.version)
      refuse(fmt::format("token shard of version {}, expected {}", version, format.version));
    const std::int64_t count = header_field(bytes, 2);
    bytes.remove_prefix(header_bytes);
    token_bytes = format.token_bytes;
    if (count < 0 || static_cast<std::uint64_t>(count) * token_bytes != bytes.size())
      refuse(fmt::format("the header promises {} tokens of {} bytes, but {} bytes follow; was the file cut short?",
                         count, token_bytes, bytes.size()));
  }
  if (bytes.empty())
    refuse("the shard is empty, expected tokens");
  if (bytes.size() % token_bytes != 0)
    refuse(fmt::format("{} bytes, expected tokens of 2 bytes each", bytes.size()));
  return {file, reinterpret_cast<const std::byte*>(bytes.data()), token_bytes,
          static_cast<std::int64_t>(bytes.size() / token_bytes)};
}

token_shards open_token_shards(const std::string& pattern) {
  std::vector<token_segment> train, validation;
  for (const std::filesystem::path path : matching_files(pattern, "*.bin")) {
    const bool validates = path.filename().string().find("val") != std::string::npos;
    (validates ? validation : train).push_back(open_token_shard(path));
  }
  if (train.empty())
    throw input_error(fmt::format("{}: no token shards to train on ({} for validation were found, by \"val\" in their "
                                  "names); give a file, a folder with .bin files, or a pattern such as 'shards/*.bin'",
                                  pattern, validation.size()));
  return {token_stream(std::move(train)), token_stream(std::move(validation))};
}

}  // namespace troupe
