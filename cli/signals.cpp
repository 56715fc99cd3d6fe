#include "cli/signals.hpp"

#include <unistd.h>

#include <string>
#include <string_view>

#include "cli/command.hpp"

namespace troupe {

namespace {

stop_request request_of_process;
std::atomic<bool> was_signalled{false};    // to end
std::atomic<bool> has_lost_reader{false};  // before anything else asked for the end
const char* first_told_of_process = "";
std::string file_of_process;                             // not touched while has_file is set: the handler reads it
volatile std::sig_atomic_t has_file = 0;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler must not wait");

void tell(std::string_view message) {
  // Nothing can be done about a closed stderr.
  [[maybe_unused]] const auto written = write(STDERR_FILENO, message.data(), message.size());
}

void on_signal(int which) {
  const int error_before = errno;
  const bool again = was_signalled.exchange(true);
  if (which == SIGHUP && (again || request_of_process.stop))
    return;  // a terminal that goes away may say so more than once
  if (again) {
    tell("\ninterrupted again: leaving at once, nothing is saved\n");
    if (has_file)
      unlink(file_of_process.c_str());
    _exit(static_cast<int>(exit_code::aborted));
  }
  request_of_process.stop = true;
  if (*first_told_of_process != '\0') {
    tell("\n");
    tell(first_told_of_process);
    tell("; interrupt again to leave at once\n");
  }
  errno = error_before;
}

/// Says so once: where it is stderr that nobody reads, that comes back here.
void on_lost_reader(int) {
  const int error_before = errno;
  if (!request_of_process.stop.exchange(true)) {
    has_lost_reader = true;
    tell(*first_told_of_process != '\0' ? "nobody reads the output any more: saving a cut and leaving\n"
                                        : "nobody reads the output any more: leaving\n");
  }
  errno = error_before;
}

}  // namespace

interruption::interruption(const char* first_told) {
  first_told_of_process = first_told;
  request_of_process.stop = false;
  request_of_process.cut = false;
  was_signalled = has_lost_reader = false;
  struct sigaction handler {};
  handler.sa_handler = on_signal;
  handler.sa_flags = SA_RESTART;
  sigemptyset(&handler.sa_mask);
  sigaction(SIGINT, &handler, &interrupt_before_);
  sigaction(SIGTERM, &handler, &terminate_before_);
  sigaction(SIGHUP, nullptr, &hangup_before_);
  if (hangup_before_.sa_handler != SIG_IGN)  // as under nohup
    sigaction(SIGHUP, &handler, nullptr);
  handler.sa_handler = [](int) { request_of_process.cut = true; };
  sigaction(SIGUSR1, &handler, &cut_before_);
  handler.sa_handler = on_lost_reader;
  sigaction(SIGPIPE, &handler, nullptr);
}

interruption::~interruption() {
  sigaction(SIGINT, &interrupt_before_, nullptr);
  sigaction(SIGTERM, &terminate_before_, nullptr);
  sigaction(SIGHUP, &hangup_before_, nullptr);
  sigaction(SIGUSR1, &cut_before_, nullptr);
  signal(SIGPIPE, SIG_IGN);  // what is said from here on may have no reader either
  has_file = 0;
}

void interruption::remove_when_aborted(const std::filesystem::path& file) {
  has_file = 0;
  file_of_process = std::filesystem::absolute(file).string();
  has_file = 1;
}

stop_request& interruption::request() const noexcept { return request_of_process; }
bool interruption::by_lost_reader() const noexcept { return has_lost_reader; }

}  // namespace troupe
