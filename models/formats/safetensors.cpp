#include "models/formats/safetensors.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "models/json_file.hpp"
#include "models/whole_file.hpp"
#include "runtime/checkpoint/mapped_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

using nlohmann::json;

constexpr std::uint64_t header_bytes_max = 100'000'000;  // as the reference implementation has it
constexpr std::size_t size_field_bytes = 8;
constexpr std::size_t data_alignment = 64;
constexpr const char* metadata_key = "__metadata__";

/// By value of dtype.
constexpr std::array<std::string_view, 8> type_names{"F32", "F64", "BF16", "F16", "I64", "I32", "U16", "U8"};

std::optional<dtype> type_from_name(const std::string& name) {
  const auto found = std::find(type_names.begin(), type_names.end(), name);
  return found == type_names.end() ? std::nullopt : std::optional(static_cast<dtype>(found - type_names.begin()));
}

/// What the header says of one tensor.
struct entry {
  std::string name;
  std::optional<dtype> type;
  shape extents;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

class header_reader {
 public:
  explicit header_reader(std::string file) : file_(std::move(file)) {}

  entry read(const std::string& name, const json& value) const {
    if (!value.is_object())
      fail(name, "is no object");
    entry out;
    out.name = name;
    const json_members members(value, file_);
    const auto type = members.text("dtype");
    if (!type)
      fail(name, "has no 'dtype'");
    out.type = type_from_name(*type);
    const auto offsets = whole_numbers(name, value, "data_offsets");
    if (offsets.size() != 2 || offsets[0] > offsets[1])
      fail(name, "has 'data_offsets' that are no begin and end");
    out.begin = offsets[0];
    out.end = offsets[1];
    const auto extents = whole_numbers(name, value, "shape");
    if (out.type)
      out.extents = checked_shape(out, extents);
    return out;
  }

  [[noreturn]] void fail(const std::string& name, const std::string& fault) const {
    throw input_error(fmt::format("{}: tensor '{}' {}", file_, name, fault));
  }

 private:
  std::vector<std::uint64_t> whole_numbers(const std::string& name, const json& value, const char* key) const {
    const auto found = value.find(key);
    if (found == value.end() || !found->is_array())
      fail(name, fmt::format("has no array '{}'", key));
    std::vector<std::uint64_t> numbers;
    for (const auto& number : *found) {
      if (!number.is_number_unsigned())
        fail(name, fmt::format("has a '{}' with something else than whole numbers", key));
      numbers.push_back(number.get<std::uint64_t>());
    }
    return numbers;
  }

  shape checked_shape(const entry& of, const std::vector<std::uint64_t>& extents) const {
    if (extents.size() > shape::rank_max)
      fail(of.name, fmt::format("has {} dimensions; at most {} are supported", extents.size(), shape::rank_max));
    std::array<std::int64_t, shape::rank_max> signed_extents{};
    std::uint64_t bytes = size_bytes(*of.type);
    bool overflows = false;
    for (std::size_t axis = 0; axis < extents.size(); ++axis) {
      overflows |= __builtin_mul_overflow(bytes, extents[axis], &bytes) || extents[axis] > INT64_MAX;
      signed_extents[axis] = static_cast<std::int64_t>(extents[axis]);
    }
    if (overflows || bytes != of.end - of.begin)
      fail(of.name, fmt::format("has {} bytes, which do not go with its shape and type", of.end - of.begin));
    return shape(std::span(signed_extents.data(), extents.size()));
  }

  std::string file_;
};

std::map<std::string, std::string> read_metadata(const json& header, const std::string& file) {
  std::map<std::string, std::string> metadata;
  const auto found = header.find(metadata_key);
  if (found == header.end())
    return metadata;
  if (!found->is_object())
    throw input_error(fmt::format("{}: '{}' is no object", file, metadata_key));
  for (const auto& [key, value] : found->items()) {
    if (!value.is_string())
      throw input_error(fmt::format("{}: '{}' of '{}' is no text", file, key, metadata_key));
    metadata.emplace(key, value.get<std::string>());
  }
  return metadata;
}

/// The bytes as a tensor: in place where they are aligned, else copied.
tensor view(const std::shared_ptr<mapped_file>& mapping, std::size_t offset, const entry& of) {
  const auto* address = mapping->bytes().data() + offset;
  if (reinterpret_cast<std::uintptr_t>(address) % size_bytes(*of.type) == 0)
    return {mapping, offset, *of.type, of.extents};
  auto copy = make_host_tensor(*of.type, of.extents);
  std::memcpy(copy.mutable_bytes(), address, copy.size_bytes());
  return copy;
}

}  // namespace

safetensors read_safetensors(const std::filesystem::path& path) {
  const auto file = path.string();
  const auto mapping = mapped_file::open(path);
  const auto text = mapping->text();
  if (text.size() < size_field_bytes)
    throw input_error(fmt::format("{}: {} bytes are too few for a safetensors file", file, text.size()));
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, text.data(), size_field_bytes);
  if (header_bytes > header_bytes_max || header_bytes > text.size() - size_field_bytes)
    throw input_error(fmt::format("{}: a header of {} bytes in a file of {}: truncated, or no safetensors file", file,
                                  header_bytes, text.size()));
  const auto header = parse_json_object(text.substr(size_field_bytes, header_bytes), file);
  const std::size_t data_offset = size_field_bytes + header_bytes;
  const std::uint64_t data_bytes = text.size() - data_offset;

  const header_reader reader(file);
  std::vector<entry> entries;
  for (const auto& [name, value] : header.items())
    if (name != metadata_key)
      entries.push_back(reader.read(name, value));
  std::sort(entries.begin(), entries.end(), [](const entry& a, const entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });

  safetensors result;
  result.metadata = read_metadata(header, file);
  std::uint64_t end = 0;
  for (const auto& each : entries) {
    if (each.begin != end)
      reader.fail(each.name, fmt::format("begins at byte {}, but the one before it ends at {}", each.begin, end));
    if (each.end > data_bytes)
      reader.fail(each.name, fmt::format("ends at byte {} of {}: truncated", each.end, data_bytes));
    end = each.end;
    if (each.type)
      result.tensors.push_back({each.name, view(mapping, data_offset + each.begin, each)});
    else
      result.unreadable.push_back(each.name);
  }
  if (end != data_bytes)
    throw input_error(fmt::format("{}: {} bytes follow the last tensor", file, data_bytes - end));
  return result;
}

void write_safetensors(const std::filesystem::path& path, std::span<const named_tensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header;
  if (!metadata.empty())
    header[metadata_key] = metadata;
  std::uint64_t offset = 0;
  for (const auto& [name, value] : tensors) {
    header[name] = {{"dtype", type_names[static_cast<std::size_t>(value.type())]},
                    {"shape", value.shape().extents()},
                    {"data_offsets", {offset, offset + value.size_bytes()}}};
    offset += value.size_bytes();
  }
  auto text = tensors.empty() && metadata.empty() ? std::string("{}") : header.dump();
  text.resize((size_field_bytes + text.size() + data_alignment - 1) / data_alignment * data_alignment -
                  size_field_bytes, ' ');
  const std::uint64_t header_bytes = text.size();

  std::vector<std::string_view> pieces{{reinterpret_cast<const char*>(&header_bytes), size_field_bytes}, text};
  for (const auto& each : tensors)
    pieces.emplace_back(reinterpret_cast<const char*>(each.value.bytes()), each.value.size_bytes());
  write_whole_file(path, pieces);
}

}  // namespace troupe
