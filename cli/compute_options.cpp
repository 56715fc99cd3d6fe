#include "cli/compute_options.hpp"

#include <map>
#include <stdexcept>

#include <fmt/format.h>

#include "cli/argument_checks.hpp"
#include "cli/command.hpp"
#include "cli/setting_names.hpp"

namespace troupe {

void add_compute_options(CLI::App& command, compute_options& options) {
  std::map<std::string, precision_kind> precisions;
  for (const auto& [precision, name] : config::enum_names<precision_kind>::all)
    precisions.emplace(name, precision);
  command.add_option("--device", options.device, "cpu, or cuda or cuda:N for a GPU")->capture_default_str();
  command.add_option("--precision", options.precision, "default: bfloat16 on a GPU, else float32")
    ->transform(CLI::Transformer(precisions));
  command.add_option("--threads", options.threads, "on processors; default: one for each core")
    ->check(threads_check());
}

std::unique_ptr<stream> open_stream(const compute_options& options) {
  try {
    auto& on = find_device(options.device);
    if (!on.supports(options.precision))
      throw usage_error(fmt::format("--precision: the device '{}' does not compute in it\nhelp: choose float32, or "
                                    "--device cuda",
                                    options.device));
    return on.make_stream({options.threads, options.precision});
  } catch (const std::invalid_argument& fault) {
    throw usage_error(fmt::format("--device: {}", fault.what()));
  } catch (const device_error& fault) {
    throw usage_error(fmt::format("--device: {}", fault.what()));
  }
}

}  // namespace troupe
