#include "cli/run_file.hpp"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "cli/run_directory.hpp"
#include "cli/setting_names.hpp"
#include "models/data/utf8.hpp"

namespace troupe {

namespace fs = std::filesystem;

namespace {

/// The defaults of a model depend on its kind, so the kind is read first.
void read_kind(const config::value& document, run_file& run) {
  const auto* found = config::find(document, "model.kind");
  if (!found)
    return;
  config::diagnostics ignored;  // reported when everything is read
  config::codec<model_kind>::read(*found, {ignored, "model.kind", {}}, run.kind);
  run.model = run.kind == model_kind::llama ? transformer_settings::llama() : transformer_settings::gpt2();
}

run_file bind(const config::value& document, config::diagnostics& report) {
  run_file run;
  read_kind(document, run);
  describe(run).read(document, report);
  return run;
}

/// What must exist for a path to be there: the path itself, or the folder above a glob.
fs::path fixed_part(const fs::path& path) {
  const auto wildcard = path.string().find_first_of("*?[");
  return wildcard == std::string::npos ? path : fs::path(path.string().substr(0, wildcard)).parent_path();
}

void resolve_path(std::string& path, const fs::path& run_file_folder) {
  std::error_code ignored;
  if (path.empty() || fs::path(path).is_absolute())
    return;
  const auto beside = run_file_folder / path;
  const bool here = fs::exists(fixed_part(fs::absolute(path)), ignored);
  const bool there = fs::exists(fixed_part(fs::absolute(beside)), ignored);
  path = fs::absolute(!here && there ? beside : fs::path(path)).lexically_normal().string();
}

bool names_directory(const std::vector<std::string>& overrides) {
  return std::any_of(overrides.begin(), overrides.end(),
                     [](const std::string& each) { return each.starts_with("directory="); });
}

/// TOML is UTF-8, and so is JSON: what is told otherwise could not be read again.
void require_utf8(std::string_view what, std::string_view text, const config::place& where,
                  config::diagnostics& report) {
  if (const auto at = utf8::first_invalid(text); at < text.size())
    report.error(where, fmt::format("{} is not UTF-8 at byte {}: {}", what, at + 1, utf8::repaired(text)),
                 "another name of the file or the folder");
}

/// What is made from paths, besides the run file's text.
void require_utf8(const run_file& run, const config::value& document, config::diagnostics& report) {
  const std::pair<std::string_view, const std::string&> made[]{{"name", run.name},
                                                               {"directory", run.directory},
                                                               {"data.path", run.data.path},
                                                               {"data.tokenizer_model", run.data.tokens.model}};
  for (const auto& [key, text] : made)
    require_utf8(fmt::format("'{}'", key), text, config::locate(document, key), report);
}

}  // namespace

run_file load_run_file(const run_request& request, config::diagnostics& report) {
  auto document = config::load_toml(request.path);
  for (const auto& assignment : request.overrides)
    require_utf8("an assignment", assignment, {"command line"}, report);
  report.throw_if_failed();
  for (const auto& assignment : request.overrides)
    config::apply_override(document, assignment, report);
  auto run = bind(document, report);
  for (const auto& specification : request.chaos)
    parse_chaos(specification, run.job.chaos, report);
  if (run.name.empty())
    run.name = request.path.stem().string();
  if (!request.directory.empty()) {
    run.directory = request.directory;
  } else if (const auto around = run_directory::around(request.path); around && !names_directory(request.overrides)) {
    run.directory = around->string();
  } else if (run.directory.empty()) {
    run.directory = (fs::path("runs") / run.name).lexically_normal().string();
    if (!run.directory.starts_with("runs/") || run.directory == "runs/")
      report.error(config::locate(document, "name"),
                   fmt::format("'name' = \"{}\" would keep the run outside of runs/", run.name),
                   "--run-dir DIR, or the key directory, keeps a run elsewhere");
  }
  resolve_path(run.data.path, request.path.parent_path());
  resolve_path(run.data.tokens.model, request.path.parent_path());
  require_utf8(run, document, report);
  report.throw_if_failed();  // checks assume values in range
  check_run_file(run, document, request.cores, report);
  report.throw_if_failed();
  return run;
}

run_file parse_run_file(std::string_view text, const std::string& source) {
  config::diagnostics report;
  auto run = bind(config::parse_toml(text, source), report);
  report.throw_if_failed();
  return run;
}

void parse_chaos(const std::string& specification, chaos_settings& chaos, config::diagnostics& report) {
  const config::place where{fmt::format("command line: '--chaos {}'", specification)};
  const auto number = [](std::string_view text, auto& out) {
    const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), out);
    return fault == std::errc{} && end == text.data() + text.size();
  };
  std::string_view rest = specification;
  for (bool more = true; more;) {
    const auto comma = std::min(rest.find(','), rest.size());
    const auto part = rest.substr(0, comma);
    more = comma < rest.size();
    rest.remove_prefix(std::min(comma + 1, rest.size()));

    constexpr std::string_view random = "random:";
    if (part.starts_with(random)) {
      const auto arguments = part.substr(random.size());
      const auto colon = std::min(arguments.find(':'), arguments.size());
      const bool seeded = colon < arguments.size();
      if (number(arguments.substr(0, colon), chaos.probability) && chaos.probability >= 0.0 &&
          chaos.probability <= 1.0 && (!seeded || number(arguments.substr(colon + 1), chaos.seed)))
        continue;
    } else if (const auto at = part.rfind('@'); at != part.npos && at > 0) {
      const auto colon = std::min(part.find(':', at), part.size());
      const auto how = part.substr(std::min(colon + 1, part.size()));
      chaos_settings::kill kill{std::string(part.substr(0, at)), 0};
      bool known = colon == part.size();
      for (const auto& [fault, name] : config::enum_names<chaos_settings::fault>::all)
        if (how == name) {
          kill.how = fault;
          known = true;
        }
      if (known && number(part.substr(at + 1, colon - at - 1), kill.step)) {
        chaos.kills.push_back(std::move(kill));
        continue;
      }
    }
    report.error(where, fmt::format("cannot read '{}'", part),
                 "write ACTOR@STEP, such as shard/0@120, with :exception or :wedge behind it for other faults than an end, "
                 "or random:PROBABILITY[:SEED]; several with commas");
  }
}

}  // namespace troupe
