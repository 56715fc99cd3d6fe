#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

#include <cuda_runtime.h>

namespace troupe::emulator {

/// A point in a stream's work; an event names the one it was recorded at last.
struct point {
  emulated_stream* of;
  bool reached = false;
};

/// The one device, its memory and its streams. Work is put off until somebody waits for it, or now and then for no
/// reason, so that whoever relies on an order that CUDA does not promise finds out. Device memory cannot be touched but
/// by that work.
///
/// Thread safe: every member is called with `mutex` held.
class machine {
 public:
  static machine& the();

  std::mutex mutex;

  // -- work -----------------------------------------------------------------------

  void enqueue(emulated_stream& on, std::function<void()> work);
  void drain(emulated_stream& on);
  void drain_all();
  bool is_idle() const;
  void run_until(const point& reached);

  std::vector<emulated_stream*> streams;

  // -- memory ---------------------------------------------------------------------

  /// Null: there is no more.
  std::byte* allocate(std::size_t size);
  void free(std::byte* address);
  /// Dies unless [address, address + size) lies in one live allocation of the device.
  void check_device(const void* address, std::size_t size, const char* what) const;
  /// Likewise of page-locked host memory.
  void check_pinned(const void* address, std::size_t size, const char* what) const;

  static constexpr std::size_t memory_bytes = 512 << 20;
  std::size_t used_bytes() const noexcept { return used_bytes_; }
  std::map<const std::byte*, std::size_t> pinned;

  // -- failing on purpose -----------------------------------------------------------

  /// What every call returns from the next finished piece of work on.
  cudaError_t fails_next = cudaSuccess;
  cudaError_t sticky = cudaSuccess;
  cudaError_t last = cudaSuccess;
  /// Returned, and remembered for cudaGetLastError.
  cudaError_t result(cudaError_t status);
  /// Whether EMULATED_GPU holds this word, such as "no-driver".
  static bool is_told(std::string_view word);

 private:
  machine();

  void step(emulated_stream& on);
  void open();
  void close();

  std::byte* arena_;
  std::size_t used_bytes_ = 0;
  std::size_t opened_bytes_ = 0;                 // of the arena that was ever used
  std::map<std::size_t, std::size_t> allocated_; // offset to size
  int depth_ = 0;                                // of work that runs
  std::minstd_rand random_{7};
};

}  // namespace troupe::emulator

struct emulated_stream {
  std::deque<std::function<void()>> work;
};

struct emulated_event {
  std::shared_ptr<troupe::emulator::point> at;
};
