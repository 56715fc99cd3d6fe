#include "cli/run_directory.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "cli/command.hpp"
#include "models/whole_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace fs = std::filesystem;

namespace {

constexpr auto configuration_name = "config.toml";
constexpr auto metrics_name = "metrics.jsonl";
constexpr auto events_name = "events.jsonl";
constexpr auto summary_name = "summary.json";
constexpr auto node_logs_name = "nodes";
constexpr auto journal_name = "journal.bin";
constexpr std::array run_files{metrics_name, summary_name, journal_name};  // besides those that are replaced
constexpr std::string_view draft_prefix = ".writing-";  // job_journal's, too

/// What was being written when its process was killed. One that was only stopped, and goes on, cannot rename it any more.
void remove_drafts(const fs::path& folder) {
  std::vector<fs::path> drafts;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().starts_with(draft_prefix))
      drafts.push_back(entry.path());
  for (const auto& draft : drafts)
    fs::remove(draft);
}

/// What a start leaves that failed, or was killed, before it had written the configuration.
bool is_unborn(const fs::path& folder) {
  std::error_code fault;
  for (fs::directory_iterator entry(folder, fault), end; !fault && entry != end; entry.increment(fault)) {
    const auto name = entry->path().filename().string();
    const bool has_no_event = name == events_name && fs::is_empty(entry->path(), fault);
    if (!has_no_event && !name.starts_with(draft_prefix))
      return false;
  }
  return !fault;
}

}  // namespace

run_directory::run_directory(fs::path path, run_directory_mode mode) : path_(std::move(path)), mode_(mode) {
  std::error_code ignored;
  const bool is_run = fs::exists(path_ / configuration_name, ignored);
  if (mode == run_directory_mode::resume) {
    if (!is_run)
      throw input_error(fmt::format("{}: there is no run to resume\nhelp: --run-dir DIR names another folder; leave "
                                    "out --resume to start a run in this one",
                                    path_.string()));
    return;
  }
  if (is_run && mode == run_directory_mode::fresh)
    throw usage_error(fmt::format("{}: there is a run already\nhelp: --force deletes it and starts over, another directory "
                                  "(train's --run-dir DIR) keeps both, train's --resume goes on from its last cut",
                                  path_.string()));
  if (!is_run && fs::exists(path_, ignored) && (!fs::is_directory(path_, ignored) || !is_unborn(path_)))
    throw usage_error(fmt::format("{}: this exists and is not a run directory\nhelp: choose another folder (train's "
                                  "--run-dir DIR)",
                                  path_.string()));
}

std::optional<fs::path> run_directory::around(const fs::path& configuration) {
  std::error_code ignored;
  const auto folder = configuration.has_parent_path() ? configuration.parent_path() : fs::current_path();
  const bool is_run = configuration.filename() == configuration_name && fs::exists(folder / events_name, ignored);
  return is_run ? std::optional(folder) : std::nullopt;
}

void run_directory::open(const std::string& resolved_configuration) {
  fs::create_directories(path_);
  lock();
  remove_drafts(path_);
  if (mode_ == run_directory_mode::force) {
    for (const auto* name : run_files)
      fs::remove(path_ / name);
    fs::resize_file(path_ / events_name, 0);
    fs::remove_all(checkpoints());
    fs::remove_all(path_ / node_logs_name);
  }
  write_file(configuration_name, resolved_configuration);
  metrics_.open(path_ / metrics_name, std::ios::app);
  events_.open(path_ / events_name, std::ios::app);
  if (!metrics_ || !events_)
    throw system_error(fmt::format("{}: cannot write here: {}", path_.string(), std::strerror(errno)));
}

fs::path run_directory::metrics() const { return path_ / metrics_name; }
fs::path run_directory::journal() const { return path_ / journal_name; }

void run_directory::lock() {
  const auto file = path_ / events_name;
  lock_ = descriptor{::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)};
  if (!lock_)
    throw system_error(fmt::format("{}: cannot write: {}", file.string(), std::strerror(errno)));
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    throw usage_error(fmt::format("{}: another process is at work on this run\nhelp: wait for its end, or end it; one that "
                                  "is stopped counts, too. `lsof {}` names it, on its machine",
                                  path_.string(), file.string()));
}

bool run_directory::add(std::ofstream& file, const nlohmann::json& line) {
  file << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n' << std::flush;
  return file.good();
}

void run_directory::write_summary(const nlohmann::json& summary) const {
  write_file(summary_name, summary.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void run_directory::write_file(const char* name, const std::string& text) const {
  write_whole_file(path_ / name, text, path_ / fmt::format("{}{}", draft_prefix, name));
}

}  // namespace troupe
