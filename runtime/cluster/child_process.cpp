#include "runtime/cluster/child_process.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {  // the header of glibc 2.36 forgets to say so
#include <sys/pidfd.h>
}

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "runtime/error.hpp"

namespace troupe {

namespace {

/// All that the child needs before it is another program, made ready by the parent: in between only system calls
/// are safe, since other threads may hold any lock.
struct launch {
  char* const* words;
  char* const* environment;
  int input;
  int output;
  pid_t parent;
  volatile int error = 0;  ///< written by the child, which shares our memory
};

[[noreturn]] void become(launch& plan) {
  setpgid(0, 0);
  // The parent may have died before the kernel knew that we want to die with it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != plan.parent)
    _exit(127);
  struct sigaction as_at_login {};
  as_at_login.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal)
    sigaction(signal, &as_at_login, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (dup2(plan.input, STDIN_FILENO) >= 0 && dup2(plan.output, STDOUT_FILENO) >= 0 &&
      dup2(plan.output, STDERR_FILENO) >= 0 && close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
    execve(plan.words[0], plan.words, plan.environment);
  plan.error = errno;
  _exit(127);
}

/// vfork, since fork would copy the page tables of all our memory, which holds models. It keeps this thread waiting
/// until the child is another program or gone. Signals wait, too: a handler of ours must not run in the child.
pid_t start(launch& plan) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t id = vfork();
  if (id == 0)
    become(plan);
  if (id < 0)
    plan.error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return id;
}

std::vector<std::string> merged_environment(const process_command& command) {
  std::vector<std::string> result;
  for (const auto& [name, value] : command.environment)
    result.push_back(name + "=" + value);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const auto name = text.substr(0, text.find('='));
    if (std::none_of(command.environment.begin(), command.environment.end(),
                     [&](const auto& over) { return over.first == name; }))
      result.emplace_back(text);
  }
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (auto& text : texts)
    result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

/// Closes at the end of its scope.
class opened {
 public:
  opened(const std::filesystem::path& file, int flags) : descriptor_(::open(file.c_str(), flags | O_CLOEXEC, 0644)) {
    if (descriptor_ < 0)
      throw system_error(fmt::format("{}: cannot open: {}", file.string(), std::strerror(errno)));
  }
  ~opened() { ::close(descriptor_); }
  opened(const opened&) = delete;
  opened& operator=(const opened&) = delete;

  int descriptor() const noexcept { return descriptor_; }

 private:
  int descriptor_;
};

}  // namespace

std::string to_string(const process_end& end) {
  return end.signal == 0 ? fmt::format("exited with status {}", end.exit_status)
                         : fmt::format("was killed by signal {} ({})", end.signal, strsignal(end.signal));
}

child_process::child_process(const process_command& command) {
  assert(!command.words.empty());
  const opened input("/dev/null", O_RDONLY);
  const opened output(command.log, O_WRONLY | O_CREAT | O_APPEND);
  auto words = command.words;
  auto environment = merged_environment(command);
  const auto word_pointers = pointers(words);
  const auto environment_pointers = pointers(environment);
  launch plan{word_pointers.data(), environment_pointers.data(), input.descriptor(), output.descriptor(), getpid()};
  id_ = start(plan);
  if (plan.error != 0) {
    if (id_ > 0)
      waitpid(id_, nullptr, 0);
    throw system_error(fmt::format("{}: cannot start this program: {}", words.front(), std::strerror(plan.error)));
  }
  descriptor_ = pidfd_open(id_, 0);
  if (descriptor_ < 0) {
    const int error = errno;
    kill(id_, SIGKILL);
    waitpid(id_, nullptr, 0);
    throw system_error(fmt::format("{}: cannot watch this process: {}", words.front(), std::strerror(error)));
  }
}

child_process::~child_process() {
  if (id_ != 0) {
    signal(SIGKILL);
    reap();
  }
}

child_process::child_process(child_process&& other) noexcept
    : id_(std::exchange(other.id_, 0)), descriptor_(std::exchange(other.descriptor_, -1)) {
  // nop
}

void child_process::signal(int which) const noexcept { pidfd_send_signal(descriptor_, which, nullptr, 0); }

process_end child_process::reap() {
  siginfo_t info{};
  // Not taken away yet: as long as it is there, no other process can have its number, and its group is its own.
  while (waitid(P_PID, static_cast<id_t>(id_), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
    // nop
  }
  kill(-id_, SIGKILL);
  while (waitid(P_PID, static_cast<id_t>(id_), &info, WEXITED) != 0 && errno == EINTR) {
    // nop
  }
  ::close(std::exchange(descriptor_, -1));
  id_ = 0;
  return info.si_code == CLD_EXITED ? process_end{info.si_status, 0} : process_end{-1, info.si_status};
}

}  // namespace troupe
