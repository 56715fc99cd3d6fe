#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/command.hpp"
#include "cli/progress.hpp"
#include "cli/saved_model.hpp"

namespace troupe {

namespace {

struct inspect_options {
  std::string path;
  bool tensors = false;
  bool configuration = false;
  bool json = false;
};

std::size_t size_bytes_of(const shard_snapshot& shard) {
  std::size_t sum = 0;
  for (const auto& one : shard.tensors)
    sum += one.value.size_bytes();
  return sum;
}

nlohmann::json describe_json(const cut& what) {
  using nlohmann::json;
  json shards = json::array();
  for (const auto& shard : what.shards) {
    json lanes = json::array();
    for (const auto& lane : shard.applied)
      lanes.push_back({{"lane", lane.lane}, {"next_step", lane.next_step}, {"applied", lane.applied}});
    json tensors = json::array();
    for (const auto& one : shard.tensors) {
      const auto extents = one.value.shape().extents();
      tensors.push_back({{"name", one.name},
                         {"type", to_string(one.value.type())},
                         {"shape", std::vector<std::int64_t>(extents.begin(), extents.end())}});
    }
    shards.push_back({{"shard", shard.shard},
                      {"version", shard.version},
                      {"size_bytes", size_bytes_of(shard)},
                      {"lanes", std::move(lanes)},
                      {"tensors", std::move(tensors)}});
  }
  json documents = json::object();
  for (const auto& [name, content] : what.manifest.documents)
    documents[name] = content.size();
  return {{"path", what.path.string()},
          {"step", what.manifest.step},
          {"epoch", what.manifest.epoch},
          {"created", what.manifest.created},
          {"shards", std::move(shards)},
          {"document_bytes", std::move(documents)}};
}

void print_cut(const cut& what, bool with_tensors) {
  fmt::print("{}\n", what.path.string());
  fmt::print("step {} | epoch {} | created {} | every checksum is right\n", what.manifest.step, what.manifest.epoch,
             what.manifest.created);
  for (const auto& shard : what.shards) {
    fmt::print("shard/{} | version {} | {} tensors | {}\n", shard.shard, shard.version, shard.tensors.size(),
               format_bytes(static_cast<double>(size_bytes_of(shard))));
    for (const auto& lane : shard.applied)
      fmt::print("  lane {} | {} gradients applied | next step {}\n", lane.lane, lane.applied, lane.next_step);
    if (with_tensors)
      for (const auto& one : shard.tensors)
        fmt::print("  {:<48} {}\n", one.name, describe(one.value));
  }
  for (const auto& [name, content] : what.manifest.documents)
    fmt::print("document {} | {}\n", name, format_bytes(static_cast<double>(content.size())));
}

exit_code inspect(const inspect_options& options) {
  console people(stderr, false);
  const auto found = find_cut(options.path, [&](const std::string& message) { people.warn("warning: " + message); });
  if (options.configuration)
    fmt::print("{}", print_run_file(run_file_of(found.manifest, found.path), true));
  else if (options.json)
    fmt::print("{}\n", describe_json(found).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  else
    print_cut(found, options.tensors);
  return exit_code::done;
}

}  // namespace

void add_inspect(CLI::App& app, action& chosen) {
  const auto options = std::make_shared<inspect_options>();
  auto* command = app.add_subcommand("inspect", "verify a checkpoint and say what it holds");
  command->add_option("CHECKPOINT", options->path, "a run directory or one of its cuts")->required();
  command->add_flag("--tensors", options->tensors, "list every tensor");
  command->add_flag("--config", options->configuration, "print the configuration that made it, instead");
  command->add_flag("--json", options->json, "one JSON object, with every tensor");
  command->callback([&chosen, options] { chosen = [options] { return inspect(*options); }; });
}

}  // namespace troupe
