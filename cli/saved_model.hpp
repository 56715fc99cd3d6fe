#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/run_file.hpp"
#include "models/data/dataset.hpp"
#include "models/model.hpp"
#include "runtime/checkpoint/store.hpp"

namespace troupe {

/// What a cut keeps beside the tensors, so that it can be used without the run file and the data: "run.toml" (the
/// resolved configuration), "tokenizer.kind" and "tokenizer" (its serialized form). A job adds "data", the dataset's
/// fingerprint.
std::map<std::string, std::string> make_documents(const run_file& run, const tokenizer* tokens);

/// The tokenizer among a cut's documents; null where there is none.
std::shared_ptr<const tokenizer> tokenizer_of(const cut_manifest& manifest);

/// The dataset's fingerprint among a cut's documents; empty where there is none.
std::string fingerprint_of(const cut_manifest& manifest);

/// The run file among a cut's documents. Throws input_error, naming `path`, where there is none that can be read.
run_file run_file_of(const cut_manifest& manifest, const std::filesystem::path& path);

/// A model rebuilt from a cut alone.
struct saved_model {
  cut from;
  run_file run;
  std::shared_ptr<const tokenizer> tokens;  ///< null where the run had none
  std::vector<named_tensor> values;         ///< float32, in layout order
  std::unique_ptr<troupe::model> model;

  /// The values as a pass takes them: by index in the model's space, on the stream's device, of its compute
  /// type.
  std::vector<tensor> parameters_on(stream& on) const;
  /// Throws input_error where there is no tokenizer.
  const tokenizer& require_tokens() const;
};

/// The cut that `path` means: a cut's folder, or the newest good one of a run directory or of a folder of cuts. Cuts
/// passed over are told to `warn`. Throws input_error where there is none.
cut find_cut(const std::filesystem::path& path, const std::function<void(const std::string&)>& warn);

saved_model load_saved_model(const std::filesystem::path& path, const std::function<void(const std::string&)>& warn);

}  // namespace troupe
