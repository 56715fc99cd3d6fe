#include "cli/compute_options.hpp"

#include <stdexcept>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/argument_checks.hpp"
#include "cli/command.hpp"
#include "cli/setting_names.hpp"

namespace troupe {

void add_compute_options(CLI::App& command, compute_options& options) {
  std::vector<std::string_view> names;
  for (const auto& [precision, name] : config::enum_names<precision_kind>::all)
    names.push_back(name);
  const auto to_number = [names](std::string& text) -> std::string {
    for (const auto& [precision, name] : config::enum_names<precision_kind>::all)
      if (text == name) {
        text = std::to_string(static_cast<int>(precision));  // how CLI11 reads an enumeration
        return {};
      }
    return fmt::format("found {}, expected one of {}", text, fmt::join(names, ", "));
  };
  command.add_option("--device", options.device, "cpu, or cuda or cuda:N for a GPU")->capture_default_str();
  command.add_option("--precision", options.precision, "default: bfloat16 on a GPU, else float32")
    ->type_name("TEXT")
    ->transform(CLI::Validator(to_number, fmt::format("{{{}}}", fmt::join(names, ","))));
  command.add_option("--threads", options.threads, "on processors; default: one for each core")
    ->transform(threads_check());
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
