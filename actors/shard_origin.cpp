#include "actors/shard_origin.hpp"

#include <map>

#include <fmt/format.h>

#include "runtime/error.hpp"

namespace troupe {

namespace {

constexpr char state_mark = '@';

}  // namespace

const char* to_string(restore_source source) {
  switch (source) {
    case restore_source::beginning: return "beginning";
    case restore_source::own_memory: return "own_memory";
    case restore_source::neighbour: return "neighbour";
    case restore_source::backup: return "backup";
    case restore_source::survivor: return "survivor";
    case restore_source::disk: return "disk";
  }
  return "unknown";
}

const char* describe(restore_source source) {
  switch (source) {
    case restore_source::beginning: return "the beginning";
    case restore_source::own_memory: return "its own memory";
    case restore_source::neighbour: return "a neighbour's memory";
    case restore_source::backup: return "its backup";
    case restore_source::survivor: return "the memory of a node that outlived the last head";
    case restore_source::disk: return "disk";
  }
  return "unknown";
}

std::map<std::string, std::uint64_t> by_name(const restore_counts& counts) {
  std::map<std::string, std::uint64_t> named;
  for (const auto source : {restore_source::beginning, restore_source::own_memory, restore_source::neighbour,
                            restore_source::backup, restore_source::survivor, restore_source::disk}) {
    const auto found = counts.find(source);
    named[to_string(source)] = found == counts.end() ? 0 : found->second;
  }
  return named;
}

std::string state_tensor_name(const std::string& parameter, const std::string& state) {
  return parameter + state_mark + state;
}

std::vector<shard_origin> split_cut(const cut& from, const parameter_space& space, const shard_layout& layout) {
  std::map<std::string, std::uint32_t, std::less<>> owner;
  for (std::uint32_t shard = 0; shard < layout.shard_count(); ++shard)
    for (auto i = layout.first(shard); i < layout.last(shard); ++i)
      owner.emplace(space[i].name, shard);
  std::vector<shard_origin> parts(layout.shard_count());
  for (auto& part : parts) {
    part.source = from.path.string();
    part.cut = {from.manifest.epoch, from.manifest.step};
    part.applied = from.shards.front().applied;
  }
  for (const auto& written : from.shards)
    for (const auto& each : written.tensors) {
      const std::string_view name = each.name;
      const auto found = owner.find(name.substr(0, name.rfind(state_mark)));
      if (found == owner.end())
        throw input_error(fmt::format("{}: holds a tensor '{}', which this run's model has not; resume with the model "
                                      "that wrote it",
                                      from.path.string(), name));
      parts[found->second].tensors.push_back(each);
    }
  return parts;
}

}  // namespace troupe
