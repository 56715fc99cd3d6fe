#include <memory>

#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/progress.hpp"
#include "cli/run_directory.hpp"
#include "cli/saved_model.hpp"
#include "models/data/utf8.hpp"
#include "models/formats/huggingface.hpp"

namespace troupe {

namespace {

struct import_options {
  std::string folder;
  std::string path;
  bool force = false;
};

/// A run that has not begun: a cut of step 0 that holds parameters alone.
exit_code import_model(const import_options& options) {
  console people(stderr, false);
  if (utf8::first_invalid(options.path) < options.path.size())
    throw usage_error(fmt::format("{}: the name is not UTF-8, and a run is to be kept there\nhelp: choose another",
                                  utf8::repaired(options.path)));
  run_directory directory(options.path, options.force ? run_directory_mode::force : run_directory_mode::fresh);
  std::string note;
  auto imported = import_huggingface(options.folder, &note);
  if (!note.empty())
    people.warn("warning: " + note);

  run_file run;
  run.name = std::filesystem::path(options.path).lexically_normal().filename().string();
  run.directory = options.path;
  run.kind = imported.settings.norm == transformer_settings::norm_kind::rms_norm ? model_kind::llama : model_kind::gpt2;
  run.model = imported.settings;
  directory.open(print_run_file(run, true));

  cut_manifest manifest;
  manifest.shard_count = 1;
  manifest.documents = make_documents(run, imported.tokens.get());
  checkpoint_store store(directory.checkpoints(), {});
  shard_snapshot part;
  part.tensors = std::move(imported.parameters);
  store.write_shard(0, part);
  const auto path = store.publish(manifest);
  people.say(fmt::format("imported as {}\nto train it further: troupe train {}/config.toml data.path=TEXT --resume",
                         path.string(), options.path));
  return exit_code::done;
}

}  // namespace

void add_import(CLI::App& app, action& chosen) {
  const auto options = std::make_shared<import_options>();
  auto* command = app.add_subcommand("import", "read a model of Hugging Face's GPT-2 or Llama classes");
  command->add_option("DIR", options->folder, "holds config.json and safetensors")->required();
  command->add_option("OUT", options->path, "a run directory to make")->required();
  command->add_flag("--force", options->force, "delete the run that is there");
  command->callback([&chosen, options] { chosen = [options] { return import_model(*options); }; });
}

}  // namespace troupe
