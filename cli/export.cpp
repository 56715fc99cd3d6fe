#include <memory>

#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/progress.hpp"
#include "cli/saved_model.hpp"
#include "models/formats/huggingface.hpp"

namespace troupe {

namespace {

struct export_options {
  std::string path;
  std::string folder;
  std::string type = "float32";
};

exit_code export_model(const export_options& options) {
  console people(stderr, false);
  const auto saved =
    load_saved_model(options.path, [&](const std::string& message) { people.warn("warning: " + message); });
  export_huggingface({saved.run.model, saved.values, saved.tokens}, options.folder,
                     dtype_from_string(options.type).value());
  people.say(fmt::format("step {} written to {}", saved.from.manifest.step, options.folder));
  return exit_code::done;
}

}  // namespace

void add_export(CLI::App& app, action& chosen) {
  const auto options = std::make_shared<export_options>();
  auto* command = app.add_subcommand("export", "write a model for Hugging Face's GPT-2 or Llama classes");
  command->add_option("CHECKPOINT", options->path, "a run directory or one of its cuts")->required();
  command->add_option("DIR", options->folder, "gets model.safetensors, config.json and the tokenizer's files")
    ->required();
  command->add_option("--type", options->type, "of the tensors")
    ->check(CLI::IsMember({"float32", "bfloat16", "float16"}))
    ->capture_default_str();
  command->callback([&chosen, options] { chosen = [options] { return export_model(*options); }; });
}

}  // namespace troupe
