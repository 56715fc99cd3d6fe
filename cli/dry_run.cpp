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

/// Free memory is told when this process has its CUDA contexts already, as the run will have, so that they count as taken.
std::string describe_device(const std::string& name) {
  if (!is_cuda(name))
    return name;
  std::string text;
  for (const int index : find_cuda(name)) {
    const auto facts = cuda_module().facts(index);
    text += fmt::format("{}cuda:{}, {}, {} of {} free", text.empty() ? "" : "; ", index, facts.name,
                        format_bytes(static_cast<double>(facts.free_bytes)),
                        format_bytes(static_cast<double>(facts.memory_bytes)));
  }
  return text;
}

std::string describe(const std::string& device, const job_memory& memory, std::size_t process_bytes, bool on_gpu) {
  std::string text = fmt::format("on {}\n", device);
  const auto line = [&](std::string_view what, std::size_t bytes) {
    text += fmt::format("{:<23} {:>9}\n", what, format_bytes(static_cast<double>(bytes)));
  };
  line("parameters", memory.parameters_bytes);
  line("optimizer state", memory.optimizer_bytes);
  line("updates", memory.updates_bytes);
  if (memory.working_bytes > 0)
    line("parameters in bfloat16", memory.working_bytes);
  line("gradients", memory.gradients_bytes);
  line("activations", memory.activations_bytes);
  line("evaluation", memory.evaluation_bytes);
  line("copies while in use", memory.copies_bytes);
  if (on_gpu) {
    line("workspace of products", memory.workspace_bytes);
    line("peak, predicted", memory.total_bytes());
    text += "and on the host\n";
  }
  line("code, threads, data", process_bytes);
  if (!on_gpu)
    line("peak, predicted", memory.total_bytes() + process_bytes);
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
  const auto memory = predict_memory(*model, run.job, run.model.context, hardware);
  dry_run plan;
  plan.configuration = print_run_file(run, true);
  plan.parameters = model->parameters().count();
  plan.tensors = model->parameters().size();
  plan.flops_per_token = flops_per_token(run.model);
  plan.job_bytes = memory.total_bytes();
  plan.process_bytes = measure_process_bytes(run.model, run.job);
  plan.device = describe_device(run.job.runtime.device);
  plan.on_gpu = !hardware.is_host;
  plan.memory = describe(plan.device, memory, plan.process_bytes, plan.on_gpu);
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
          {"actors", plan.actors}};
}

}  // namespace troupe
