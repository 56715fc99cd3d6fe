#include <memory>

#include <fmt/core.h>

#include "cli/command.hpp"
#include "cli/run_file.hpp"

namespace troupe {

namespace {

exit_code print_defaults(model_kind kind) {
  run_file run;
  run.kind = kind;
  run.model = kind == model_kind::llama ? transformer_settings::llama() : transformer_settings::gpt2();
  fmt::print("{}", print_run_file(run, true));
  return exit_code::done;
}

}  // namespace

void add_config(CLI::App& app, action& chosen) {
  auto* command = app.add_subcommand("config", "print a run file with every key, its default and what it is for");
  const auto llama = std::make_shared<bool>(false);
  command->add_flag("--llama", *llama, "with the defaults of a Llama-style model");
  command->callback([&chosen, llama] {
    chosen = [llama] { return print_defaults(*llama ? model_kind::llama : model_kind::gpt2); };
  });
}

}  // namespace troupe
