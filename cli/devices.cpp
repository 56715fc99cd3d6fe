#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/command.hpp"
#include "cli/progress.hpp"
#include "runtime/cluster/node_resources.hpp"
#include "runtime/tensor/cpu/peak.hpp"
#include "runtime/tensor/device_module.hpp"

namespace troupe {

namespace {

using nlohmann::json;

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (const auto colon = line.find(": "); line.starts_with("model name") && colon != std::string::npos)
      return line.substr(colon + 2);
  return "processor";
}

json describe_processor() {
  const auto node = this_node();
  const auto threads = std::max(1, static_cast<int>(node.cores));
  return {{"device", "cpu"},
          {"name", processor_name()},
          {"cores", node.cores},
          {"memory_bytes", node.memory_bytes},
          {"peak_flops", measure_fma_peak(threads)},
          {"peak_threads", threads}};
}

json describe_gpu(int index) {
  const auto facts = cuda_module().facts(index);
  const auto rates = cuda_module().rates(index);
  json result{{"device", fmt::format("cuda:{}", index)},
              {"name", facts.name},
              {"architecture", facts.architecture},
              {"driver", facts.driver},
              {"toolkit", facts.toolkit},
              {"attention", cuda_module().attention(index)},
              {"processors", facts.processors},
              {"memory_bytes", facts.memory_bytes},
              {"free_bytes", facts.free_bytes},
              {"copy_bytes_per_second", rates.copy_bytes_per_second},
              {"to_device_bytes_per_second", rates.to_device_bytes_per_second},
              {"to_host_bytes_per_second", rates.to_host_bytes_per_second},
              {"matrix_flops", rates.matrix_flops}};
  const auto add = [&](const char* key, const std::optional<double>& value) {
    if (value)
      result[key] = *value;
  };
  add("utilization_ratio", facts.utilization);
  add("power_watts", facts.power_watts);
  add("energy_joules", facts.energy_joules);
  return result;
}

/// All devices, and in `absent` why there is no GPU.
json find_all(std::string& absent) {
  json all{describe_processor()};
  try {
    const int count = cuda_module().count();
    for (int index = 0; index < count; ++index)
      all.push_back(describe_gpu(index));
  } catch (const device_error& fault) {
    absent = fault.what();
  }
  return all;
}

std::string bytes(const json& count) { return format_bytes(count.get<double>()); }
std::string per_second(const json& count) { return format_bytes(count.get<double>()) + "/s"; }
std::string flops(const json& count) { return format_flops(count.get<double>()) + "/s"; }

void print_processor(const json& one) {
  fmt::print("cpu      {}\n         {:.1f} cores | {} | {} of multiply-adds on {} threads\n", one["name"].get<std::string>(),
             one["cores"].get<double>(), bytes(one["memory_bytes"]), flops(one["peak_flops"]),
             one["peak_threads"].get<int>());
}

void print_gpu(const json& one) {
  fmt::print("{:<8} {}\n         {}, {} processors | {} of {} free | driver {} | {}\n", one["device"].get<std::string>(),
             one["name"].get<std::string>(), one["architecture"].get<std::string>(), one["processors"].get<int>(),
             bytes(one["free_bytes"]), bytes(one["memory_bytes"]), one["driver"].get<std::string>(),
             one["toolkit"].get<std::string>());
  fmt::print("         copies {} | to it {} | to the host {} | float32 products {}\n", per_second(one["copy_bytes_per_second"]),
             per_second(one["to_device_bytes_per_second"]), per_second(one["to_host_bytes_per_second"]),
             flops(one["matrix_flops"]));
  fmt::print("         attention in bfloat16 by {}\n", one["attention"].get<std::string>());
  if (one.contains("power_watts"))
    fmt::print("         now {:.0f} W\n", one["power_watts"].get<double>());
}

exit_code show(bool as_json) {
  std::string absent;
  const auto all = find_all(absent);
  if (as_json) {
    json document{{"devices", all}};
    if (!absent.empty())
      document["no_gpu"] = absent;
    fmt::print("{}\n", document.dump(2));
    return exit_code::done;
  }
  for (const auto& one : all)
    one["device"] == "cpu" ? print_processor(one) : print_gpu(one);
  if (!absent.empty())
    fmt::print("cuda     none: {}\n", absent);
  return exit_code::done;
}

}  // namespace

void add_devices(CLI::App& app, action& chosen) {
  const auto as_json = std::make_shared<bool>(false);
  auto* command = app.add_subcommand("devices", "what this machine can compute on, and how fast that is");
  command->add_flag("--json", *as_json, "as JSON; cli/README.md describes it");
  command->callback([&chosen, as_json] { chosen = [as_json] { return show(*as_json); }; });
}

}  // namespace troupe
