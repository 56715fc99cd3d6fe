#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
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

/// A piece of a stream's work. What waits for another process is not due until that has done its part.
struct piece {
  std::function<void()> run;
  std::function<bool()> is_due;  ///< empty: in its turn
};

/// Work that graphs may hold, and what it is: a graph is updated by one with the same nodes.
struct node {
  enum class kind { kernel, copy, fill } what;
  std::function<void()> run;
};

/// The devices, their memory and their streams. Work is put off until somebody waits for it, or now and then for no
/// reason, so that whoever relies on an order that CUDA does not promise finds out. A device's memory cannot be touched
/// but by its own work, and by copies between devices.
///
/// Thread safe: every member is called with `mutex` held, which is let go while work that is not due is waited for.
class machine {
 public:
  static machine& the();

  static constexpr int devices_max = 2;
  /// As EMULATED_GPU says: one, or two.
  static int devices();

  std::mutex mutex;

  // -- work -----------------------------------------------------------------------

  /// Dies in a stream that is being recorded.
  void enqueue(emulated_stream& on, std::function<void()> run, std::function<bool()> is_due = {});
  /// To be done, or recorded.
  void enqueue(emulated_stream& on, node::kind what, std::function<void()> run);
  void drain(emulated_stream& on);
  /// All streams of a device.
  void drain(int device);
  void run_until(const point& reached);
  /// Does what is due now.
  void progress(emulated_stream& on);
  /// Nobody waits for its work any more.
  void wait_for_users(const emulated_stream& of);

  std::vector<emulated_stream*> streams;
  std::size_t waits = 0;          ///< of the host for whole streams
  std::size_t graphs_made = 0;
  std::size_t graphs_launched = 0;

  // -- memory ---------------------------------------------------------------------

  /// Null: there is no more.
  std::byte* allocate(int device, std::size_t size);
  /// Work on it that is under way, which nobody should have left, finds NaN.
  void free(std::byte* address);
  /// Dies unless [address, address + size) lies in one live allocation of this device.
  void check_device(int device, const void* address, std::size_t size, const char* what) const;
  /// Likewise of page-locked host memory.
  void check_pinned(const void* address, std::size_t size, const char* what) const;

  static constexpr std::size_t memory_bytes = 512 << 20;
  std::size_t used_bytes(int device) const noexcept { return arenas_[device].used_bytes; }
  /// While work runs, its own device's memory is open; for copies between devices the other's, too.
  void open(int device);
  void close(int device);
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

  /// A device's memory.
  struct arena {
    std::byte* begin;
    std::size_t used_bytes = 0;
    std::size_t opened_bytes = 0;                  // that were ever used
    std::map<std::size_t, std::size_t> allocated;  // offset to size
    int depth = 0;                                 // of work that runs

    bool holds(const std::byte* address) const { return address >= begin && address < begin + memory_bytes; }
    void protect(int how) const;
    /// Fills it with NaN, or if it is large its ends: pages that nobody touches cost nothing when the arena is opened.
    void poison(std::size_t offset, std::size_t size) const;
  };

  /// Whether its next piece can be run now.
  bool can_step(const emulated_stream& on) const;
  /// Does its next piece, unless `until` is reached before that can be done.
  void step(emulated_stream& on, const point* until = nullptr);
  template <class Condition>
  void wait_until(Condition condition);

  arena arenas_[devices_max];
  std::size_t work_done_ = 0;
  std::minstd_rand random_{7};
};

}  // namespace troupe::emulator

struct emulated_stream {
  int device = 0;
  std::deque<troupe::emulator::piece> work{};
  bool runs = false;  // a piece of it
  std::optional<std::vector<troupe::emulator::node>> recorded{};
  int users = 0;      // threads that wait for it
};

struct emulated_graph {
  std::vector<troupe::emulator::node> nodes;
};

struct emulated_graph_exec : emulated_graph {};

struct emulated_event {
  int device = 0;
  std::shared_ptr<troupe::emulator::point> at;
};
