#include "cli/saved_model.hpp"

#include <fmt/format.h>

#include "models/formats/huggingface.hpp"
#include "models/transformer.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace fs = std::filesystem;

namespace {

constexpr auto run_document = "run.toml";
constexpr auto data_document = "data";
constexpr auto tokenizer_kind_document = "tokenizer.kind";
constexpr auto tokenizer_document = "tokenizer";

std::optional<cut> newest_cut(const fs::path& folder, const std::function<void(const std::string&)>& warn) {
  std::error_code ignored;
  return fs::is_directory(folder, ignored) ? checkpoint_store(folder, {}).latest(warn) : std::nullopt;
}

}  // namespace

std::map<std::string, std::string> make_documents(const run_file& run, const tokenizer* tokens) {
  std::map<std::string, std::string> documents{{run_document, print_run_file(run)}};
  if (tokens) {
    documents[tokenizer_kind_document] = tokens->kind();
    documents[tokenizer_document] = tokens->serialize();
  }
  return documents;
}

std::shared_ptr<const tokenizer> tokenizer_of(const cut_manifest& manifest) {
  const auto kind = manifest.documents.find(tokenizer_kind_document);
  const auto bytes = manifest.documents.find(tokenizer_document);
  if (kind == manifest.documents.end() || bytes == manifest.documents.end())
    return {};
  return deserialize_tokenizer(kind->second, bytes->second);
}

std::string fingerprint_of(const cut_manifest& manifest) {
  const auto found = manifest.documents.find(data_document);
  return found == manifest.documents.end() ? std::string{} : found->second;
}

run_file run_file_of(const cut_manifest& manifest, const fs::path& path) {
  const auto found = manifest.documents.find(run_document);
  if (found == manifest.documents.end())
    throw input_error(fmt::format("{}: holds no configuration, so the model cannot be rebuilt\nhelp: cuts of `troupe "
                                  "train` and `troupe import` hold one",
                                  path.string()));
  try {
    return parse_run_file(found->second, fmt::format("{}: {}", path.string(), run_document));
  } catch (const config::config_error& fault) {
    throw input_error(fault.what());  // of the checkpoint, not of the user's configuration
  }
}

std::vector<tensor> saved_model::parameters_on(stream& on) const {
  std::vector<tensor> result;
  for (const auto& one : values)
    result.push_back(one.value);
  return as_computed_with(on, result);
}

const tokenizer& saved_model::require_tokens() const {
  if (!tokens)
    throw input_error(fmt::format("{}: holds no tokenizer: {}", from.path.string(),
                                  fingerprint_of(from.manifest).empty()
                                      ? "it was imported from a folder without one\nhelp: put its tokenizer.json or "
                                        "tokenizer.model there and import again"
                                      : "the run was given tokens, not text"));
  return *tokens;
}

cut find_cut(const fs::path& path, const std::function<void(const std::string&)>& warn) {
  std::error_code ignored;
  if (fs::exists(path / "manifest.bin", ignored))
    return read_cut(path);
  if (auto found = newest_cut(path / "checkpoints", warn))
    return std::move(*found);
  if (auto found = newest_cut(path, warn))
    return std::move(*found);
  throw input_error(fmt::format("{}: {}\nhelp: name a run directory, such as runs/NAME, or one of the cuts in its "
                                "checkpoints folder",
                                path.string(),
                                fs::exists(path, ignored) ? "holds no good checkpoint" : "no such folder"));
}

saved_model load_saved_model(const fs::path& path, const std::function<void(const std::string&)>& warn) {
  saved_model result;
  result.from = find_cut(path, warn);
  const auto& manifest = result.from.manifest;
  result.run = run_file_of(manifest, result.from.path);
  result.tokens = tokenizer_of(manifest);
  result.values = parameters_of(result.from, result.run.model);
  result.model = std::make_unique<troupe::model>(make_transformer(result.run.model));
  return result;
}

}  // namespace troupe
