#include "runtime/checkpoint/store.hpp"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <charconv>
#include <chrono>
#include <set>
#include <system_error>

#include <unistd.h>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "runtime/checkpoint/format.hpp"
#include "runtime/checkpoint/sealed_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view cut_prefix = "step-";
constexpr std::string_view writing_prefix = ".writing-";
constexpr std::string_view removing_prefix = ".removing-";

std::string cut_name(std::uint64_t step) { return fmt::format("{}{:09}", cut_prefix, step); }

void make_directories(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error)
    throw system_error(fmt::format("{}: cannot create the folder: {}", directory.string(), error.message()));
}

std::vector<tensor_entry> lay_out(const std::vector<named_tensor>& tensors) {
  std::vector<tensor_entry> entries;
  std::uint64_t offset = 0;
  for (const auto& [name, value] : tensors) {
    entries.push_back({name, value.type(), value.shape(), offset, value.size_bytes(), {}});
    offset = align_up(offset + value.size_bytes(), tensor_alignment);
  }
  return entries;
}

/// Appends the tensor and the zeros after it; hashes each piece while it is in the processor's cache.
checksum append(file_writer& out, const tensor& value) {
  static constexpr std::byte zeros[tensor_alignment]{};
  constexpr std::size_t piece_bytes = std::size_t{256} << 10;
  running_checksum sum;
  const auto add = [&](std::span<const std::byte> bytes) {
    sum.add(bytes);
    out.append(bytes);
  };
  std::span<const std::byte> rest(value.bytes(), value.size_bytes());
  while (!rest.empty()) {
    const auto piece = rest.first(std::min(rest.size(), piece_bytes));
    add(piece);
    rest = rest.subspan(piece.size());
  }
  add(std::span(zeros).first(align_up(out.offset(), tensor_alignment) - out.offset()));
  return sum.value();
}

/// Removes what writers that crashed or were superseded left in a cut's folder.
void remove_strangers(const fs::path& folder, const std::set<fs::path>& parts) {
  std::vector<fs::path> strangers;
  for (const auto& entry : fs::directory_iterator(folder))
    if (!parts.contains(entry.path()))
      strangers.push_back(entry.path());
  for (const auto& file : strangers)
    fs::remove_all(file);
}

}  // namespace

std::optional<std::uint64_t> step_of(const fs::path& directory) {
  const auto name = directory.filename().string();
  if (!name.starts_with(cut_prefix))
    return std::nullopt;
  std::uint64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(name.data() + cut_prefix.size(), end, step);
  // Only names that this store would give count: "step-12" and "step-000000012.bak" are somebody else's.
  return error == std::errc{} && rest == end && cut_name(step) == name ? std::optional(step) : std::nullopt;
}

checkpoint_store::checkpoint_store(fs::path directory, options chosen)
    : directory_(std::move(directory)), options_(std::move(chosen)) {
  // nop
}

void checkpoint_store::make_ready() const { make_directories(directory_); }

fs::path checkpoint_store::path_of(std::uint64_t step) const { return directory_ / cut_name(step); }

fs::path checkpoint_store::aside(std::uint64_t step) const {
  return directory_ / (std::string(writing_prefix) + cut_name(step));
}

std::size_t checkpoint_store::write_shard(std::uint64_t step, const shard_snapshot& part) {
  shard_message message{part.shard, step, part.version, part.applied, lay_out(part.tensors)};
  const auto payload = message.tensors.empty()
                           ? 0
                           : align_up(message.tensors.back().offset + message.tensors.back().size_bytes,
                                      tensor_alignment);
  const auto size = sealed_size(payload, encode(message).size());

  const auto folder = aside(step);
  if (options_.hook)
    options_.hook(write_step::make_directory, folder);
  make_directories(folder);
  // Under a name of its own: an older incarnation of the shard may still be writing the same part.
  static std::atomic<std::uint64_t> written{0};
  const auto file = folder / shard_file_name(part.shard);
  const fs::path draft = fmt::format("{}.{}-{}", file.string(), ::getpid(), written.fetch_add(1));
  file_writer out(draft, size, options_.hook);
  for (std::size_t i = 0; i < part.tensors.size(); ++i) {
    assert(out.offset() == message.tensors[i].offset);
    message.tensors[i].sum = append(out, part.tensors[i].value);
  }
  seal(out, file_kind::shard, encode(message), options_.flush);
  rename_path(draft, file, options_.hook);
  return size;
}

fs::path checkpoint_store::publish(const cut_manifest& about) {
  const auto folder = aside(about.step);
  manifest_message message{about, {}};
  if (message.about.created.empty())
    message.about.created = fmt::format("{:%FT%TZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(
                                                         std::chrono::system_clock::now())));
  std::set<fs::path> parts;
  for (std::uint32_t i = 0; i < about.shard_count; ++i) {
    const auto file = folder / shard_file_name(i);
    const auto shard = sealed_file::open(file, file_kind::shard);
    message.shards.push_back({shard.mapping->size_bytes(), shard.message_checksum});
    parts.insert(file);
  }
  remove_strangers(folder, parts);
  const auto bytes = encode(message);
  file_writer out(folder / manifest_file_name, sealed_size(0, bytes.size()), options_.hook);
  seal(out, file_kind::manifest, bytes, options_.flush);
  if (options_.flush)
    sync_directory(folder, options_.hook);
  const auto published = directory_ / cut_name(about.step);
  const auto replaced = replace_directory(folder, published, options_.hook);
  if (options_.flush)
    sync_directory(directory_, options_.hook);
  // Only now: until the new name is flushed, the old cut is the one that survives a power failure.
  if (!replaced.empty())
    remove_directory(replaced, options_.hook);
  apply_retention(about.step);
  return published;
}

void checkpoint_store::apply_retention(std::uint64_t newest) {
  if (options_.keep.keep_count == 0)
    return;
  auto candidates = steps();
  // Later cuts are left alone: only going back past a faulty one leaves such behind.
  std::erase_if(candidates, [&](std::uint64_t step) { return step > newest; });
  const auto surplus = candidates.size() - std::min<std::size_t>(candidates.size(), options_.keep.keep_count);
  const auto now = fs::file_time_type::clock::now();
  for (std::size_t i = 0; i < surplus; ++i) {
    const auto folder = directory_ / cut_name(candidates[i]);
    std::error_code error;
    const auto written = fs::last_write_time(folder, error);
    if (!error && now - written >= options_.keep.keep_age)
      remove_directory(hide_directory(folder, options_.hook), options_.hook);
  }
}

void checkpoint_store::discard_unpublished() {
  if (!fs::exists(directory_))
    return;
  std::vector<fs::path> remains;
  for (const auto& entry : fs::directory_iterator(directory_)) {
    const auto name = entry.path().filename().string();
    if (name.starts_with(writing_prefix) || name.starts_with(removing_prefix))
      remains.push_back(entry.path());
  }
  for (const auto& folder : remains)
    remove_directory(folder, options_.hook);
}

std::vector<std::uint64_t> checkpoint_store::steps() const {
  std::vector<std::uint64_t> found;
  std::error_code error;
  for (fs::directory_iterator entry(directory_, error), end; !error && entry != end; entry.increment(error))
    if (const auto step = step_of(entry->path()))
      found.push_back(*step);
  if (error && error != std::errc::no_such_file_or_directory)
    throw system_error(fmt::format("{}: cannot be listed: {}", directory_.string(), error.message()));
  std::sort(found.begin(), found.end());
  return found;
}

std::optional<cut> checkpoint_store::latest(const std::function<void(const std::string&)>& warn) const {
  std::vector<std::string> faults;
  std::optional<cut> found;
  const auto all = steps();
  for (auto step = all.rbegin(); step != all.rend() && !found; ++step) {
    const auto folder = directory_ / cut_name(*step);
    try {
      found = read_cut(folder);
    } catch (const input_error& fault) {
      if (fs::exists(folder))  // else retention removed it while we looked
        faults.emplace_back(fault.what());
    }
  }
  if (warn)
    for (const auto& fault : faults)
      warn(found ? fmt::format("{}; using {} instead", fault, found->path.filename().string())
                 : fmt::format("{}; no good checkpoint is left in {}", fault, directory_.string()));
  return found;
}

}  // namespace troupe
