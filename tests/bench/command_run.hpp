#pragma once

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace troupe::bench {

using clock_type = std::chrono::steady_clock;
using words = std::vector<std::string>;

struct line {
  clock_type::time_point at;
  nlohmann::json content;
};

/// `troupe train --json` in a process of its own; every line of its output is kept with the time it came.
class run {
 public:
  run(const std::filesystem::path& command, const std::filesystem::path& folder, words arguments) {
    arguments.insert(arguments.begin(), command.string());
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
      throw std::runtime_error("no pipe");
    id_ = fork();
    if (id_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGTERM);
      std::vector<char*> pointers;
      for (auto& word : arguments)
        pointers.push_back(word.data());
      pointers.push_back(nullptr);
      const int log = open((folder / "log").c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
      if (dup2(ends[1], STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
        _exit(99);
      execv(pointers[0], pointers.data());
      _exit(98);
    }
    close(ends[1]);
    reader_ = std::thread([this, from = ends[0]] {
      auto* in = fdopen(from, "r");
      char* text = nullptr;
      std::size_t size = 0;
      while (getline(&text, &size, in) > 0) {
        auto content = nlohmann::json::parse(text, nullptr, false);
        const std::lock_guard lock(mutex_);
        lines_.push_back({clock_type::now(), std::move(content)});
        changed_.notify_all();
      }
      std::free(text);
      std::fclose(in);
      const std::lock_guard lock(mutex_);
      ended_ = true;
      changed_.notify_all();
    });
  }

  ~run() {
    kill(id_, SIGTERM);
    reader_.join();
    waitpid(id_, nullptr, 0);
  }

  /// The first line from `from` on that fits; moves `from` behind it. Throws where none comes within a minute.
  template <class Fits>
  line wait_for(std::size_t& from, Fits fits) {
    std::unique_lock lock(mutex_);
    const auto until = clock_type::now() + std::chrono::minutes{1};
    for (;;) {
      for (; from < lines_.size(); ++from)
        if (fits(lines_[from].content))
          return lines_[from++];
      if (ended_ || changed_.wait_until(lock, until) == std::cv_status::timeout)
        throw std::runtime_error("the run ended, or nothing came of it for a minute; see its log");
    }
  }

  std::size_t size() {
    const std::lock_guard lock(mutex_);
    return lines_.size();
  }

  std::vector<line> lines() {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

  std::vector<pid_t> nodes() const {
    std::vector<pid_t> found;
    for (const auto& thread : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", id_))) {
      std::ifstream in(thread.path() / "children");
      for (pid_t child = 0; in >> child;)
        found.push_back(child);
    }
    return found;
  }

 private:
  pid_t id_ = -1;
  std::thread reader_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<line> lines_;
  bool ended_ = false;
};

}  // namespace troupe::bench
