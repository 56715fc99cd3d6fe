#pragma once

/// The real command in a process of its own, for tests that call it, signal it and kill it.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tests/cli/files.hpp"
#include "tests/comes_true.hpp"

namespace troupe {

inline const std::filesystem::path command_path = std::filesystem::path(TROUPE_BINARY_DIR) / "bin" / "troupe";

inline bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A process of the command, with its output and its temporary files in its folder. One that was not waited for is
/// killed.
class process {
 public:
  /// `name` tells the outputs of several processes in one folder apart; `runner` runs the command, where something must.
  process(const scratch_folder& folder, const std::vector<std::string>& arguments, const std::string& name = {},
          const std::vector<std::string>& runner = {})
      : out_(folder.path() / (name + "out")), err_(folder.path() / (name + "err")) {
    for (const auto& output : {out_, err_})
      std::filesystem::remove(output);  // nobody is to read what another process wrote
    auto words = runner;
    words.push_back(command_path.string());
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    for (auto& word : words)
      pointers.push_back(word.data());
    pointers.push_back(nullptr);
    id_ = fork();
    if (id_ == 0) {
      if (chdir(folder.path().c_str()) != 0 || setenv("TMPDIR", folder.path().c_str(), 1) != 0 ||
          dup2(creat(out_.c_str(), 0600), STDOUT_FILENO) < 0 || dup2(creat(err_.c_str(), 0600), STDERR_FILENO) < 0)
        _exit(99);
      execv(pointers[0], pointers.data());
      _exit(98);
    }
    REQUIRE(id_ > 0);
  }
  ~process() {
    if (!ended()) {
      kill(id_, SIGKILL);
      waitpid(id_, nullptr, 0);
    }
  }
  process(const process&) = delete;
  process& operator=(const process&) = delete;

  pid_t id() const noexcept { return id_; }
  void signal(int which) const { kill(id_, which); }

  bool ended() const {
    int status = 0;
    if (!code_ && waitpid(id_, &status, WNOHANG) == id_)
      code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    return code_.has_value();
  }

  /// The exit code; beyond 1000 the signal that ended it.
  int wait(std::chrono::milliseconds within = long_enough) const {
    INFO(err());
    REQUIRE_MESSAGE(comes_true([&] { return ended(); }, within), "the process does not end");
    return *code_;
  }

  std::string out() const { return read_file(out_); }
  std::string err() const { return read_file(err_); }

 private:
  std::filesystem::path out_;
  std::filesystem::path err_;
  pid_t id_ = -1;
  mutable std::optional<int> code_;  // once it was found to have ended
};

struct result {
  int code = -1;
  std::string out;
  std::string err;
};

inline result run(const scratch_folder& folder, const std::vector<std::string>& arguments) {
  const process child(folder, arguments, "run.");  // beside others in this folder
  const int code = child.wait();
  return {code, child.out(), child.err()};
}

/// A run that takes a moment, on text of its own.
inline constexpr std::string_view small_run = R"(
[model]
layers = 1
heads = 2
channels = 16
context = 16
[data]
path = "text.txt"
cache = "cache"
[training]
steps = 20
batch = 4
[evaluation]
batches = 2
)";

inline void prepare(const scratch_folder& folder) {
  std::string text;
  for (int i = 0; i < 200; ++i)
    text += fmt::format("{} bottles of beer on the wall\n", i);
  write_file(folder, "text.txt", text);
  write_file(folder, "small.toml", small_run);
}

inline std::vector<nlohmann::json> lines_of(const std::string& text) {
  std::vector<nlohmann::json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);)
    lines.push_back(nlohmann::json::parse(line));
  return lines;
}

}  // namespace troupe
