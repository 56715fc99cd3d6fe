#include "cli/dry_run.hpp"

#include <sstream>

#include <fmt/format.h>

#include "actors/job.hpp"
#include "actors/job_memory.hpp"
#include "actors/job_root.hpp"
#include "actors/job_tree.hpp"
#include "actors/process_memory.hpp"
#include "cli/progress.hpp"
#include "runtime/tensor/device_module.hpp"

namespace troupe {

namespace {

std::vector<std::string> names_of_devices(const std::string& device) {
  std::vector<std::string> names;
  for (const auto* each : find_devices(device))
    names.push_back(each->name());
  return names;
}

/// Free memory is told when this process has its CUDA contexts already, as the run will have, so that they count as taken.
std::string describe_device(const std::string& name) {
  if (!is_cuda(name))
    return name;
  const auto facts = cuda_module().facts(find_cuda(name).front());
  return fmt::format("{}, {}, {} of {} free", name, facts.name, format_bytes(static_cast<double>(facts.free_bytes)),
                     format_bytes(static_cast<double>(facts.memory_bytes)));
}

std::string describe(std::string_view what, std::size_t bytes) {
  return fmt::format("{:<23} {:>9}\n", what, format_bytes(static_cast<double>(bytes)));
}

std::string describe(const std::string& device, const job_memory& memory, bool on_gpu) {
  auto text = fmt::format("on {}\n", device);
  text += describe("parameters", memory.parameters_bytes);
  text += describe("optimizer state", memory.optimizer_bytes);
  text += describe("updates", memory.updates_bytes);
  if (memory.working_bytes > 0)
    text += describe("parameters in bfloat16", memory.working_bytes);
  text += describe("gradients", memory.gradients_bytes);
  text += describe("activations", memory.activations_bytes);
  text += describe("evaluation", memory.evaluation_bytes);
  text += describe("copies while in use", memory.copies_bytes);
  if (memory.arrivals_bytes > 0)
    text += describe("from other devices", memory.arrivals_bytes);
  if (on_gpu)
    text += describe("workspace of products", memory.workspace_bytes) + describe("peak, predicted", memory.total_bytes());
  return text;
}

std::string commented(const std::string& text) {
  std::istringstream lines(text);
  std::string result;
  for (std::string line; std::getline(lines, line);)
    result += line.empty() ? "#\n" : "# " + line + "\n";
  return result;
}

}  // namespace

dry_run plan_run(const run_file& run, std::shared_ptr<const dataset> data) {
  const auto model = std::make_shared<const troupe::model>(make_transformer(run.model));
  job_inputs inputs;
  inputs.model = model;
  inputs.data = std::move(data);
  inputs.context = run.model.context;
  inputs.checkpoints = std::filesystem::path(run.directory) / "checkpoints";
  const auto context = make_job_context(inputs, run.job);
  auto hardware = hardware_of(run.job);
  if (!hardware.is_host)
    hardware.stream_bytes = cuda_module().stream_bytes;
  dry_run plan;
  plan.on_gpu = !hardware.is_host;
  const auto names = names_of_devices(run.job.runtime.device);
  const auto memory = predict_memory_of_each(*model, run.job, run.model.context, hardware, names.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto described = describe_device(names[i]);
    plan.device += (i > 0 ? "; " : "") + described;
    plan.memory += describe(described, memory[i], plan.on_gpu);
    plan.device_bytes.emplace_back(names[i], memory[i].total_bytes());
    plan.job_bytes += memory[i].total_bytes();
  }
  plan.configuration = print_run_file(run, true);
  plan.parameters = model->parameters().count();
  plan.tensors = model->parameters().size();
  plan.flops_per_token = flops_per_token(run.model);
  plan.process_bytes = measure_process_bytes(run.model, run.job);
  if (plan.on_gpu)
    plan.memory += "and on the host\n";
  plan.memory += describe("code, threads, data", plan.process_bytes);
  if (!plan.on_gpu)
    plan.memory += describe("peak, predicted", plan.job_bytes + plan.process_bytes);
  plan.actors = describe_tree(*context);
  return plan;
}

std::string to_string(const dry_run& plan) {
  return fmt::format("{}\n# == parameters\n# {} ({}) in {} tensors\n# {} per token and training step\n#\n"
                     "# == memory\n{}#\n# == actors\n{}",
                     plan.configuration, format_quantity(static_cast<double>(plan.parameters)), plan.parameters,
                     plan.tensors, format_flops(plan.flops_per_token), commented(plan.memory),
                     commented(plan.actors));
}

nlohmann::json to_json(const dry_run& plan) {
  auto devices = nlohmann::json::array();
  for (const auto& [name, bytes] : plan.device_bytes)
    devices.push_back({{"device", name}, {"predicted_bytes", bytes}});
  return {{"kind", "dry_run"},
          {"configuration", plan.configuration},
          {"parameters", plan.parameters},
          {"tensors", plan.tensors},
          {"flops_per_token", plan.flops_per_token},
          {"job_bytes", plan.job_bytes},
          {"process_bytes", plan.process_bytes},
          {"memory_bytes", plan.on_gpu ? plan.process_bytes : plan.job_bytes + plan.process_bytes},
          {"device_memory_bytes", plan.on_gpu ? plan.job_bytes : 0},
          {"device", plan.device},
          {"devices", std::move(devices)},
          {"actors", plan.actors}};
}

}  // namespace troupe
