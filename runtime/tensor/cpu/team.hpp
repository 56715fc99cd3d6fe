#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace troupe::cpu {

/// While one lives, the thread's arithmetic takes subnormal numbers for zero and gives zero for them.
class flush_subnormals {
 public:
#if defined(__SSE2__)
  flush_subnormals() noexcept : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040u); }  // FTZ and DAZ
  ~flush_subnormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#else
  flush_subnormals() noexcept {
    // nop
  }
#endif
};

/// The threads that share one stream's kernels: the caller and `threads - 1` helpers.
///
/// Work comes as tasks whose number and extent follow from shapes alone, and no two tasks write the same
/// memory; so it does not matter for results which thread takes which, nor how many there are.
///
/// Helpers wait for the next call by spinning for about as long as it takes to wake a thread, then sleep: an
/// idle team costs nothing. A helper that wakes late joins late or not at all; nobody waits for it. (This is why
/// OpenMP's pool does not serve here: every thread takes part in every region, and idle ones spin for
/// milliseconds on cores that other actors need.)
///
/// Inside tasks numbers too small for float's normal range count as zero: processors take a hundred times as long for
/// them, and they do turn up, as in moments of gradients that have become rare.
///
/// Used by one thread at a time.
class team {
 public:
  /// Throws system_error where the system does not give so many threads.
  explicit team(int threads);
  ~team();
  team(const team&) = delete;
  team& operator=(const team&) = delete;

  int size() const noexcept { return static_cast<int>(helpers_.size()) + 1; }

  /// Calls body(task, member) for each task in [0, tasks); member, in [0, size()), names the thread, for scratch
  /// memory. Returns when all are done. REQUIRES: body does not throw, nor use the team.
  template <class Body>
  void run(std::int64_t tasks, Body&& body) {
    const flush_subnormals here;
    if (helpers_.empty() || tasks <= 1) {
      for (std::int64_t task = 0; task < tasks; ++task)
        body(task, 0);
      return;
    }
    using body_type = std::remove_reference_t<Body>;
    const call run_task = [](void* context, std::int64_t task, int member) {
      (*static_cast<body_type*>(context))(task, member);
    };
    share(tasks, run_task, const_cast<void*>(static_cast<const void*>(&body)));
  }

  /// Calls body(first, last) for the pieces of [0, count), each of `grain` items but the last.
  template <class Body>
  void split(std::int64_t count, std::int64_t grain, Body&& body) {
    run((count + grain - 1) / grain, [&](std::int64_t task, int) {
      const auto first = task * grain;
      body(first, first + grain < count ? first + grain : count);
    });
  }

 private:
  using call = void (*)(void* context, std::int64_t task, int member);

  void end() noexcept;
  void share(std::int64_t tasks, call body, void* context);
  void take_tasks(int member) noexcept;
  void help(int member) noexcept;

  // The job at hand; stable while any helper has joined it.
  call body_ = nullptr;
  void* context_ = nullptr;
  std::int64_t tasks_ = 0;
  alignas(64) std::atomic<std::int64_t> next_{0};
  /// The job's number in the upper half; whether it is open, and how many helpers joined, in the lower.
  alignas(64) std::atomic<std::uint64_t> job_{0};
  alignas(64) std::atomic<std::uint32_t> left_{0};  ///< helpers that joined and are through
  alignas(64) std::atomic<std::uint32_t> bell_{0};  ///< changes with every job; sleepers wait on it
  std::atomic<bool> stop_{false};
  std::vector<std::thread> helpers_;
};

}  // namespace troupe::cpu
