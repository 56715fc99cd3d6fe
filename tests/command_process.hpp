#pragma once

/// The real command in a process of its own, for tests that call it, signal it and kill it.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tests/cli/files.hpp"

namespace troupe {

inline const std::filesystem::path command_path = std::filesystem::path(TROUPE_BINARY_DIR) / "bin" / "troupe";

/// A process of the command, with its output in files.
class process {
 public:
  process(const scratch_folder& folder, const std::vector<std::string>& arguments) : folder_(folder) {
    std::vector<std::string> words{command_path.string()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    for (auto& word : words)
      pointers.push_back(word.data());
    pointers.push_back(nullptr);
    id_ = fork();
    if (id_ == 0) {
      if (chdir(folder.path().c_str()) != 0 || dup2(creat("out", 0600), STDOUT_FILENO) < 0 ||
          dup2(creat("err", 0600), STDERR_FILENO) < 0)
        _exit(99);
      execv(pointers[0], pointers.data());
      _exit(98);
    }
    REQUIRE(id_ > 0);
  }

  void signal(int which) const { kill(id_, which); }

  int wait() const {
    int status = 0;
    waitpid(id_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

  std::string out() const { return read_file(folder_.path() / "out"); }
  std::string err() const { return read_file(folder_.path() / "err"); }

 private:
  const scratch_folder& folder_;
  pid_t id_ = -1;
};

struct result {
  int code = -1;
  std::string out;
  std::string err;
};

inline result run(const scratch_folder& folder, const std::vector<std::string>& arguments) {
  const process child(folder, arguments);
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
