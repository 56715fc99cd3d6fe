#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "actors/job_settings.hpp"
#include "models/transformer.hpp"
#include "runtime/config/schema.hpp"

namespace troupe {

/// Whose defaults a [model] section starts from.
enum class model_kind : std::uint8_t { gpt2, llama };

/// Everything a run file says, with defaults where it is silent.
struct run_file {
  std::string name;       ///< title; the file's stem where it does not say
  std::string directory;  ///< run directory; "runs/NAME" where it does not say
  model_kind kind = model_kind::gpt2;
  transformer_settings model = transformer_settings::gpt2();
  data_settings data;
  job_settings job;
};

/// What `troupe train` was asked for.
struct run_request {
  std::filesystem::path path;
  std::vector<std::string> overrides;  ///< "section.key=value"
  std::vector<std::string> chaos;      ///< of --chaos, see parse_chaos
  int cores = 0;                       ///< of the machine that is to compute; 0: unknown
  std::string directory{};             ///< of --run-dir
};

/// Reads a run file. Relative paths of data are looked up from the current folder, then from the run file's, and are
/// absolute afterwards. The config.toml of a run directory is of that directory, unless the request names another.
/// Throws config_error with all that is wrong; warnings go to `report`.
run_file load_run_file(const run_request& request, config::diagnostics& report);

/// The same from text that was resolved before, as cuts keep it: paths stay as they are.
run_file parse_run_file(std::string_view text, const std::string& source);

/// Binds every key of a run file to `run`, which must outlive the result.
config::schema describe(run_file& run);

/// The resolved configuration as TOML; with comments, every key explains itself.
std::string print_run_file(const run_file& run, bool with_comments = false);

// -- for tests and for each other ----------------------------------------------------------

/// Reports combinations that cannot work, where `document` says them, and warns of those that make no sense.
void check_run_file(const run_file& run, const config::value& document, int cores, config::diagnostics& report);

/// Adds one --chaos specification: "shard/0@120" kills that actor when step 120 is done; "random:0.01" kills with this
/// probability after each step, "random:0.01:7" from seed 7. Several are joined by commas.
void parse_chaos(const std::string& specification, chaos_settings& chaos, config::diagnostics& report);

}  // namespace troupe
