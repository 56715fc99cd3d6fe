/// A stand-in for NCCL on the emulated GPU: communicators of two ranks, of which rank 0 only sends and rank 1 only
/// receives, and has drawn the id. Bytes go from process to process, over a socket in the abstract name space. What NCCL
/// puts off it puts off, too: to find the other rank, and to enqueue what was called for. And it waits where NCCL may: a
/// stream that sends for the one that receives, and an abort for the kernels of other communicators of the process.
///
/// EMULATED_NCCL makes it fail: `never-forms` never finds the other rank; `breaks-after-N` reports an error after N
/// groups of calls, at the sending rank; `stalls-after-N` sends no more bytes from then on, and says nothing;
/// `refuses-sends` refuses every call to send.

#include <cuda_runtime.h>
#include <dlfcn.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

enum : int { success = 0, system_error = 2, invalid_argument = 4, remote_error = 6, in_progress = 7 };

struct unique_id {
  char bytes[128];
};

struct configuration {
  std::size_t size;
  unsigned magic, version;
  int blocking;
};

// -- the emulated GPU ----------------------------------------------------------------

template <class Function>
Function* emulator(const char* name) {
  void* const library = dlopen(std::getenv("TROUPE_CUDA_LIBRARY"), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
  return reinterpret_cast<Function*>(dlsym(library, name));
}

void enqueue(cudaStream_t stream, std::size_t size, void* address, const std::function<void()>& run,
             const std::function<bool()>& is_due) {
  static auto* const call = emulator<void(cudaStream_t, std::size_t, void*, const std::function<void()>&,
                                          const std::function<bool()>&)>("emulated_gpu_enqueue");
  call(stream, size, address, run, is_due);
}

void progress(cudaStream_t stream) {
  static auto* const call = emulator<void(cudaStream_t)>("emulated_gpu_progress");
  call(stream);
}

// -- how it fails ----------------------------------------------------------------------

/// The number behind a word of EMULATED_NCCL; -1: it is not there.
long told(const std::string& word) {
  const char* const all = std::getenv("EMULATED_NCCL");
  const auto at = all ? std::string(all).find(word) : std::string::npos;
  return at == std::string::npos ? -1 : std::atol(all + at + word.size());
}

// -- sockets -----------------------------------------------------------------------------

std::pair<sockaddr_un, socklen_t> address_of(const unique_id& id) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto size = strnlen(id.bytes, sizeof address.sun_path - 1);
  std::memcpy(address.sun_path + 1, id.bytes, size);
  return {address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size)};
}

std::mutex listeners_mutex;
std::map<std::string, int> listeners;  // of ids that were drawn here and not used yet

constexpr std::size_t part_bytes = 64 << 10;  // of one call to the system

// -- communicators -----------------------------------------------------------------------

struct communicator;

std::mutex communicators_mutex;
std::set<const communicator*> communicators;  // of this process

struct communicator : std::enable_shared_from_this<communicator> {
  communicator(const unique_id& id, int rank) : rank(rank) {
    if (rank == 1) {
      const std::lock_guard lock(listeners_mutex);
      const auto own = listeners.extract(id.bytes);
      socket = own ? own.mapped() : -1;
    } else {
      socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      const auto [address, size] = address_of(id);
      if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), size) != 0)
        error = system_error;
    }
    worker = std::thread([this] { work(); });
    const std::lock_guard lock(communicators_mutex);
    communicators.insert(this);
  }

  ~communicator() {
    end();
    const std::lock_guard lock(communicators_mutex);
    communicators.erase(this);
  }

  void end() {
    ends = true;
    if (worker.joinable())
      worker.join();
    if (socket >= 0)
      ::close(std::exchange(socket, -1));
  }

  void work() {
    if (told("never-forms") >= 0)
      return;
    if (rank == 1)
      accept();
    if (error == in_progress)
      error = success;
    while (!ends) {
      std::vector<cudaStream_t> used;
      {
        const std::lock_guard lock(mutex);
        used.assign(streams.begin(), streams.end());
      }
      for (const auto each : used)
        progress(each);
      if (error == success)
        rank == 0 ? send_bytes() : receive_bytes();
    }
  }

  void accept() {
    pollfd waits{socket, POLLIN, 0};
    while (!ends && ::poll(&waits, 1, 1) == 0) {
    }
    const int listener = std::exchange(socket, ends ? -1 : ::accept4(socket, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    ::close(listener);
    if (socket < 0)
      error = system_error;
  }

  void send_bytes() {
    std::vector<char> part;
    {
      const std::lock_guard lock(mutex);
      part.assign(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(std::min(bytes.size(), part_bytes)));
    }
    pollfd waits{socket, static_cast<short>(part.empty() ? POLLIN : POLLIN | POLLOUT), 0};
    if (::poll(&waits, 1, 1) <= 0 || stalls)
      return;
    char wishes[part_bytes];  // the other rank says with a byte that it waits for a transfer
    const auto got = ::recv(socket, wishes, sizeof wishes, 0);
    const auto sent = part.empty() ? 0 : ::send(socket, part.data(), part.size(), MSG_NOSIGNAL);
    if (got == 0 || ((got < 0 || sent < 0) && errno != EAGAIN)) {
      error = remote_error;
      return;
    }
    const std::lock_guard lock(mutex);
    wanted += std::max<std::ptrdiff_t>(got, 0);
    bytes.erase(bytes.begin(), bytes.begin() + std::max<std::ptrdiff_t>(sent, 0));
  }

  void receive_bytes() {
    {
      const std::lock_guard lock(mutex);
      for (; wanted > 0 && ::send(socket, "", 1, MSG_NOSIGNAL) == 1; --wanted) {
      }
    }
    pollfd waits{socket, POLLIN, 0};
    if (::poll(&waits, 1, 1) <= 0)
      return;
    char part[part_bytes];
    const auto got = ::recv(socket, part, sizeof part, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN))
      error = remote_error;
    const std::lock_guard lock(mutex);
    bytes.insert(bytes.end(), part, part + std::max<std::ptrdiff_t>(got, 0));
  }

  /// A piece of work in a stream that waits for the other rank.
  struct kernel {
    explicit kernel(std::shared_ptr<communicator> by) : of(std::move(by)) { ++of->kernels; }
    ~kernel() { --of->kernels; }

    std::shared_ptr<communicator> of;
    bool has_begun = false;
  };

  void transfer(void* address, std::size_t size, cudaStream_t stream) {
    {
      const std::lock_guard lock(mutex);
      if (std::ranges::find(streams, stream) == streams.end())
        streams.push_back(stream);
    }
    auto* const at = static_cast<char*>(address);
    const auto own = std::make_shared<kernel>(shared_from_this());
    if (rank == 0)
      enqueue(stream, size, address, [me = own->of.get(), own, at, size] {
        const std::lock_guard lock(me->mutex);
        if (me->wanted > 0)
          --me->wanted;
        me->bytes.insert(me->bytes.end(), at, at + size);
      }, [me = own->of.get(), own] {
        const std::lock_guard lock(me->mutex);
        return me->ends || me->wanted > 0;
      });
    else
      enqueue(stream, size, address, [me = own->of.get(), own, at, size] {
        const std::lock_guard lock(me->mutex);
        if (me->ends || me->bytes.size() < size)
          return;  // whoever takes this for what was sent finds out
        std::copy_n(me->bytes.begin(), size, at);
        me->bytes.erase(me->bytes.begin(), me->bytes.begin() + static_cast<std::ptrdiff_t>(size));
      }, [me = own->of.get(), own, size] {
        const std::lock_guard lock(me->mutex);
        if (!std::exchange(own->has_begun, true))
          ++me->wanted;
        return me->ends || me->bytes.size() >= size;
      });
    called = true;
  }

  void end_of_group() {
    if (!std::exchange(called, false))
      return;
    ++groups;
    unsettled = 3;
    const auto breaks = told("breaks-after-"), stalls_at = told("stalls-after-");
    if (rank == 0 && breaks >= 0 && groups > breaks)
      error = remote_error;
    if (rank == 0 && stalls_at >= 0 && groups > stalls_at)
      stalls = true;
  }

  int look() {
    if (error == success && unsettled > 0 && unsettled-- > 0)
      return in_progress;
    return error;
  }

  const int rank;
  int socket = -1;
  std::atomic<int> error{in_progress};
  std::atomic<bool> ends{false};
  std::atomic<bool> stalls{false};
  std::atomic<int> unsettled{0};
  bool called = false;  // since the last group's end
  long groups = 0;
  std::mutex mutex;
  std::deque<char> bytes;               // to be sent, or that came
  std::ptrdiff_t wanted = 0;            // transfers that the receiving rank waits for, as far as it was not told, or used
  std::atomic<int> kernels{0};          // that wait, or will
  std::vector<cudaStream_t> streams;
  std::thread worker;
};

using handle = std::shared_ptr<communicator>*;

bool others_wait() {
  const std::lock_guard lock(communicators_mutex);
  return std::ranges::any_of(communicators, [](const auto* each) { return !each->ends && each->kernels > 0; });
}

thread_local std::vector<handle> group;
thread_local int group_depth = 0;

}  // namespace

extern "C" {

int ncclGetUniqueId(unique_id* id) {
  *id = {};
  const auto name = "troupe-nccl-" + std::to_string(getpid()) + "-" + std::to_string(std::random_device{}());
  std::memcpy(id->bytes, name.data(), name.size());
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto [address, size] = address_of(*id);
  if (::bind(listener, reinterpret_cast<const sockaddr*>(&address), size) != 0 || ::listen(listener, 1) != 0)
    return system_error;
  const std::lock_guard lock(listeners_mutex);
  listeners[name] = listener;
  return success;
}

int ncclCommInitRankConfig(handle* made, int ranks, unique_id id, int rank, configuration* how) {
  if (ranks != 2 || rank < 0 || rank > 1 || how->magic != 0xcafebeef || how->size < sizeof(configuration) ||
      how->version < 21400 || how->blocking != 0)
    return invalid_argument;
  *made = new std::shared_ptr<communicator>(std::make_shared<communicator>(id, rank));
  return in_progress;
}

int ncclCommGetAsyncError(handle of, int* error) {
  *error = (*of)->look();
  return success;
}

int ncclCommAbort(handle which) {
  (*which)->end();
  while (others_wait())
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  delete which;
  return success;
}

int ncclGroupStart() {
  ++group_depth;
  return success;
}

int ncclGroupEnd() {
  if (--group_depth > 0)
    return success;  // the outermost one's end counts
  for (const auto each : group)
    (*each)->end_of_group();
  group.clear();
  return in_progress;
}

int ncclSend(const void* from, std::size_t count, int, int peer, handle by, cudaStream_t stream) {
  if (peer != 1 || (*by)->rank != 0 || told("refuses-sends") >= 0)
    return invalid_argument;
  group.push_back(by);
  (*by)->transfer(const_cast<void*>(from), count, stream);
  return success;
}

int ncclRecv(void* to, std::size_t count, int, int peer, handle by, cudaStream_t stream) {
  if (peer != 0 || (*by)->rank != 1)
    return invalid_argument;
  group.push_back(by);
  (*by)->transfer(to, count, stream);
  return success;
}

const char* ncclGetErrorString(int error) {
  switch (error) {
    case system_error: return "unhandled system error";
    case invalid_argument: return "invalid argument";
    case remote_error: return "remote process exited or there was a network error";
    default: return "no error";
  }
}

const char* ncclGetLastError(handle) { return "a stand-in knows no more"; }
}
