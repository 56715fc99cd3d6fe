#include "runtime/tensor/cpu/team.hpp"

#include <chrono>
#include <system_error>

#include <fmt/format.h>

#include "runtime/error.hpp"

namespace troupe::cpu {

namespace {

constexpr std::uint64_t open_bit = std::uint64_t{1} << 31;
constexpr std::uint64_t number_of(std::uint64_t job) { return job >> 32; }
constexpr auto spin_time = std::chrono::microseconds(50);

void pause() noexcept {
#if defined(__SSE2__)
  _mm_pause();
#endif
}

}  // namespace

team::team(int threads) {
  try {
    for (int member = 1; member < threads; ++member)
      helpers_.emplace_back([this, member] { help(member); });
  } catch (const std::system_error& fault) {
    const auto started = helpers_.size();
    end();
    throw troupe::system_error(fmt::format("cannot start thread {} of {}: {}\nhelp: use fewer threads", started + 2,
                                           threads, fault.code().message()));
  }
}

team::~team() { end(); }

void team::end() noexcept {
  stop_ = true;
  ++bell_;
  bell_.notify_all();
  for (auto& helper : helpers_)
    helper.join();
}

void team::take_tasks(int member) noexcept {
  for (;;) {
    const auto task = next_.fetch_add(1, std::memory_order_relaxed);
    if (task >= tasks_)
      return;
    body_(context_, task, member);
  }
}

void team::share(std::int64_t tasks, call body, void* context) {
  body_ = body;
  context_ = context;
  tasks_ = tasks;
  next_.store(0, std::memory_order_relaxed);
  left_.store(0, std::memory_order_relaxed);
  job_.store((number_of(job_.load(std::memory_order_relaxed)) + 1) << 32 | open_bit, std::memory_order_release);
  bell_.fetch_add(1, std::memory_order_release);
  bell_.notify_all();  // costs a system call only where somebody sleeps
  take_tasks(0);
  const auto closed = job_.fetch_and(~open_bit, std::memory_order_acq_rel);
  const auto joined = static_cast<std::uint32_t>(closed & (open_bit - 1));
  for (int turns = 0; left_.load(std::memory_order_acquire) != joined; ++turns)
    turns < 10000 ? pause() : std::this_thread::yield();  // past that the helper has probably lost its core
}

void team::help(int member) noexcept {
  const flush_subnormals here;
  std::uint64_t last_number = 0;
  auto idle_since = std::chrono::steady_clock::now();
  while (!stop_.load(std::memory_order_relaxed)) {
    const auto bell = bell_.load(std::memory_order_acquire);
    auto job = job_.load(std::memory_order_acquire);
    bool joined = false;
    while (!joined && (job & open_bit) && number_of(job) != last_number)
      joined = job_.compare_exchange_weak(job, job + 1, std::memory_order_acq_rel);
    if (joined) {
      last_number = number_of(job);
      take_tasks(member);
      left_.fetch_add(1, std::memory_order_release);
      idle_since = std::chrono::steady_clock::now();
    } else if (std::chrono::steady_clock::now() - idle_since < spin_time) {
      for (int i = 0; i < 8; ++i)
        pause();
    } else if (!stop_) {
      bell_.wait(bell, std::memory_order_acquire);
      idle_since = std::chrono::steady_clock::now();
    }
  }
}

}  // namespace troupe::cpu
