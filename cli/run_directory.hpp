#pragma once

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "runtime/transport/socket.hpp"

namespace troupe {

/// What to do where a run directory holds a run.
enum class run_directory_mode : std::uint8_t {
  fresh,   ///< refuse
  resume,  ///< go on with it; refuse where there is none
  force,   ///< delete it
};

/// The folder that holds one run; see cli/README.md for its files. A resumed run appends to its lines: after a resume
/// or a rollback steps come again, and the last line of a step counts.
///
/// One process at a time works in it, from open() to the process's end: a lock (flock) on the events' file sees to it,
/// between machines where their file system does. Where it has no locks, job_journal tells a process that another came.
class run_directory {
 public:
  /// Throws usage_error or input_error, saying how to go on, where `mode` does not fit what is there. Touches nothing.
  run_directory(std::filesystem::path path, run_directory_mode mode);

  /// The run directory that this is the config.toml of, if it is one's. It may have been moved since that was written.
  static std::optional<std::filesystem::path> around(const std::filesystem::path& configuration);

  /// Makes the folder ready and writes config.toml. Throws system_error; usage_error where another process is at work
  /// there.
  void open(const std::string& resolved_configuration);

  const std::filesystem::path& path() const noexcept { return path_; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  std::filesystem::path journal() const;
  std::filesystem::path metrics() const;

  // A line each, flushed. False, from the first failure on, where it could not be written.
  bool add_metric(const nlohmann::json& line) { return add(metrics_, line); }
  bool add_event(const nlohmann::json& line) { return add(events_, line); }

  /// Throws system_error.
  void write_summary(const nlohmann::json& summary) const;

 private:
  static bool add(std::ofstream& file, const nlohmann::json& line);
  void lock();
  void write_file(const char* name, const std::string& text) const;

  std::filesystem::path path_;
  run_directory_mode mode_;
  descriptor lock_;
  std::ofstream metrics_;
  std::ofstream events_;
};

}  // namespace troupe
