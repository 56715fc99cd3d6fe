#include "runtime/cluster/local_processes.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include <fmt/format.h>

#include "runtime/error.hpp"

namespace troupe {

namespace {

using clock = std::chrono::steady_clock;

struct slot {
  process_command command;
  std::optional<child_process> child;
  std::uint64_t starts = 0;
  std::deque<clock::time_point> replacements;    ///< within the window
  std::optional<clock::time_point> replace_at;
};

}  // namespace

/// One thread starts all processes, since the kernel ends them with the thread that started them, and waits for their
/// ends.
class local_processes::minder {
 public:
  minder(std::vector<process_command> commands, local_process_options options)
      : options_(std::move(options)), slots_(commands.size()), wake_(eventfd(0, EFD_CLOEXEC)) {
    if (wake_ < 0)
      throw system_error(fmt::format("cannot make an event descriptor: {}", std::strerror(errno)));
    for (std::size_t i = 0; i < commands.size(); ++i)
      slots_[i].command = std::move(commands[i]);
    std::promise<void> started;
    auto outcome = started.get_future();
    thread_ = std::thread([this, &started] { run(started); });
    try {
      outcome.get();
    } catch (...) {
      thread_.join();
      ::close(wake_);
      throw;
    }
  }

  ~minder() {
    stop();
    ::close(wake_);
  }

  std::vector<pid_t> ids() const {
    const std::lock_guard guard(mutex_);
    std::vector<pid_t> result;
    for (const auto& each : slots_)
      result.push_back(each.child ? each.child->id() : 0);
    return result;
  }

  void signal(std::size_t index, int which) {
    const std::lock_guard guard(mutex_);
    if (const auto& child = slots_.at(index).child)
      child->signal(which);
  }

  void stop() {
    stopping_ = true;
    constexpr std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_, &one, sizeof one);
    std::call_once(joined_, [this] { thread_.join(); });
  }

 private:
  void run(std::promise<void>& started) {
    try {
      for (auto& each : slots_)
        start(each);
    } catch (...) {
      for (auto& each : slots_)
        each.child.reset();
      started.set_exception(std::current_exception());
      return;
    }
    started.set_value();
    std::optional<clock::time_point> kill_at;
    while (!stopping_ || any_runs()) {
      if (stopping_ && !kill_at) {
        kill_at = clock::now() + options_.stop_within;
        signal_all(SIGTERM);
      } else if (kill_at && clock::now() >= *kill_at) {
        // Only a process that the kernel itself holds on to survives this.
        signal_all(SIGKILL);
        kill_at = clock::time_point::max();
      }
      wait(kill_at);
      note_ends();
      if (!stopping_)
        replace_due();
    }
  }

  void start(slot& each) {
    ++each.starts;
    child_process child(each.command);
    const std::lock_guard guard(mutex_);
    each.child.emplace(std::move(child));
  }

  bool any_runs() const {
    return std::any_of(slots_.begin(), slots_.end(), [](const slot& each) { return each.child.has_value(); });
  }

  void signal_all(int which) {
    for (const auto& each : slots_)
      if (each.child)
        each.child->signal(which);
  }

  /// Until a process ends, stop() is called, or there is something to do at a time.
  void wait(const std::optional<clock::time_point>& kill_at) {
    auto until = kill_at.value_or(clock::time_point::max());
    std::vector<pollfd> watched;
    if (!kill_at)
      watched.push_back({wake_, POLLIN, 0});
    for (const auto& each : slots_) {
      if (each.child)
        watched.push_back({each.child->descriptor(), POLLIN, 0});
      if (each.replace_at && !kill_at)
        until = std::min(until, *each.replace_at);
    }
    int timeout = -1;
    if (until != clock::time_point::max())
      timeout = static_cast<int>(std::clamp<std::int64_t>(
        std::chrono::ceil<std::chrono::milliseconds>(until - clock::now()).count(), 0, 1'000'000));
    ::poll(watched.data(), watched.size(), timeout);
  }

  void note_ends() {
    for (std::size_t index = 0; index < slots_.size(); ++index) {
      auto& each = slots_[index];
      if (!each.child)
        continue;
      pollfd ended{each.child->descriptor(), POLLIN, 0};
      if (::poll(&ended, 1, 0) != 1)
        continue;
      local_process_end told{index, each.starts, each.child->id(), {}, {}, {}};
      {
        const std::lock_guard guard(mutex_);
        told.how = each.child->reap();
        each.child.reset();
      }
      told.text = to_string(told.how);
      tell(each, std::move(told));
    }
  }

  void tell(slot& each, local_process_end told) {
    if (!told.how.clean() && !stopping_)
      told.replaced_after = schedule_replacement(each);
    if (options_.on_end)
      options_.on_end(told);
  }

  std::optional<std::chrono::milliseconds> schedule_replacement(slot& each) {
    const auto& policy = options_.replacement;
    const auto now = clock::now();
    while (!each.replacements.empty() && each.replacements.front() + policy.window <= now)
      each.replacements.pop_front();
    if (each.replacements.size() >= policy.max)
      return std::nullopt;
    each.replacements.push_back(now);
    const auto delay = policy.delay.delay(static_cast<std::uint32_t>(each.replacements.size()), each.starts);
    each.replace_at = now + delay;
    return delay;
  }

  void replace_due() {
    for (std::size_t index = 0; index < slots_.size(); ++index) {
      auto& each = slots_[index];
      if (!each.replace_at || *each.replace_at > clock::now())
        continue;
      each.replace_at.reset();
      try {
        start(each);
      } catch (const system_error& fault) {
        tell(each, {index, each.starts, 0, {}, fault.what(), {}});
      }
    }
  }

  const local_process_options options_;
  mutable std::mutex mutex_;   ///< guards the children against other threads than ours; only ours changes them
  std::vector<slot> slots_;
  int wake_;
  std::atomic<bool> stopping_ = false;
  std::once_flag joined_;
  std::thread thread_;
};

local_processes::local_processes(std::vector<process_command> commands, local_process_options options)
    : minder_(std::make_unique<minder>(std::move(commands), std::move(options))) {
  // nop
}

local_processes::~local_processes() = default;

std::vector<pid_t> local_processes::ids() const { return minder_->ids(); }

void local_processes::signal(std::size_t index, int which) { minder_->signal(index, which); }

void local_processes::stop() { minder_->stop(); }

}  // namespace troupe
