#include "runtime/background.hpp"

#include <exception>
#include <thread>

#include <sys/resource.h>
#include <unistd.h>

namespace troupe {

namespace {

/// Where all cores are wanted, a twentieth of one is what the work gets. Less would make training wait for it: the next cut
/// cannot begin before this one is on disk.
constexpr int nice_value = 13;

}  // namespace

void run_in_background(const std::function<void()>& work) {
  std::exception_ptr failure;
  std::thread([&] {
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), nice_value);  // on Linux a thread has its own
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
  }).join();
  if (failure)
    std::rethrow_exception(failure);
}

}  // namespace troupe
