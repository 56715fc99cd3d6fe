#include "machine.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "blocks.hpp"

namespace troupe::emulator {

namespace {

constexpr std::size_t page_bytes = 4096;
constexpr std::size_t alignment = 256;
constexpr std::size_t gap_bytes = 256;   // behind each allocation: what is read there is NaN
constexpr std::size_t poison_bytes_max = 512 << 10;
constexpr std::size_t work_max = 256;    // pieces put off in one stream

std::size_t round_up(std::size_t size, std::size_t step) { return (size + step - 1) / step * step; }

}  // namespace

machine& machine::the() {
  static auto& only = *new machine;
  return only;
}

bool machine::is_told(std::string_view word) {
  const char* const told = std::getenv("EMULATED_GPU");
  return told && std::string_view(told).find(word) != std::string_view::npos;
}

int machine::devices() { return is_told("two-devices") ? 2 : 1; }

machine::machine() {
  for (arena& each : arenas_) {
    each.begin = static_cast<std::byte*>(
        mmap(nullptr, memory_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (each.begin == MAP_FAILED)
      die("no address space for the device's memory");
  }
}

cudaError_t machine::result(cudaError_t status) {
  if (sticky != cudaSuccess)
    status = sticky;
  if (status != cudaSuccess)
    last = status;
  return status;
}

// -- work ---------------------------------------------------------------------------

void machine::arena::protect(int how) const {
  if (opened_bytes > 0 && mprotect(begin, opened_bytes, how) != 0)
    die("mprotect");
}

void machine::arena::poison(std::size_t offset, std::size_t size) const {
  const auto part = std::min(size, poison_bytes_max);
  std::memset(begin + offset, 0xff, part);
  std::memset(begin + offset + size - part, 0xff, part);
}

void machine::open(int device) {
  if (arenas_[device].depth++ == 0)
    arenas_[device].protect(PROT_READ | PROT_WRITE);
}

void machine::close(int device) {
  if (--arenas_[device].depth == 0)
    arenas_[device].protect(PROT_NONE);
}

template <class Condition>
void machine::wait_until(Condition condition) {
  while (!condition()) {
    mutex.unlock();
    std::this_thread::sleep_for(std::chrono::microseconds{100});
    mutex.lock();
  }
}

bool machine::can_step(const emulated_stream& on) const {
  if (on.runs || on.work.empty())
    return false;
  const auto& is_due = on.work.front().is_due;
  return !is_due || sticky != cudaSuccess || is_due();
}

void machine::step(emulated_stream& on, const point* until) {
  // Meanwhile somebody else may do it.
  ++on.users;
  wait_until([&] { return can_step(on) || (on.work.empty() && !on.runs) || (until && until->reached); });
  --on.users;
  if (!can_step(on) || (until && until->reached))
    return;
  const auto work = std::move(on.work.front());
  on.work.pop_front();
  on.runs = true;
  if (sticky == cudaSuccess)
    work.run();
  on.runs = false;
  constexpr std::size_t fragile_work_max = 500;
  if (++work_done_ == fragile_work_max && is_told("fragile"))
    fails_next = cudaErrorIllegalAddress;
  if (fails_next != cudaSuccess)
    sticky = std::exchange(fails_next, cudaSuccess);
}

void machine::enqueue(emulated_stream& on, node::kind what, std::function<void()> run) {
  if (on.recorded)
    on.recorded->push_back({what, std::move(run)});
  else
    enqueue(on, std::move(run));
}

void machine::enqueue(emulated_stream& on, std::function<void()> run, std::function<bool()> is_due) {
  if (on.recorded)
    die("what a graph cannot hold, in a stream that is being recorded");
  on.work.push_back({std::move(run), std::move(is_due)});
  constexpr unsigned one_in = 16;
  if (on.work.size() > work_max || random_() % one_in == 0) {
    auto& any = on.work.size() > work_max ? on : *streams[random_() % streams.size()];
    open(any.device);
    for (auto count = random_() % (any.work.size() + 1) + (any.work.size() > work_max); count > 0 && can_step(any); --count)
      step(any);
    close(any.device);
  }
}

void machine::drain(emulated_stream& on) {
  if (on.recorded)
    die("waiting for a stream that is being recorded");
  open(on.device);
  while (!on.work.empty() || on.runs)
    step(on);
  close(on.device);
}

void machine::progress(emulated_stream& on) {
  open(on.device);
  while (can_step(on))
    step(on);
  close(on.device);
}

void machine::wait_for_users(const emulated_stream& of) {
  wait_until([&] { return of.users == 0; });
}

void machine::drain(int device) {
  for (std::size_t i = 0; i < streams.size(); ++i)  // others may come and go meanwhile
    if (streams[i]->device == device && !streams[i]->recorded)
      drain(*streams[i]);
}

void machine::run_until(const point& reached) {
  if (reached.reached)
    return;  // its stream may have ended since
  const int device = reached.of->device;
  open(device);
  while (!reached.reached && sticky == cudaSuccess) {
    if (reached.of->work.empty() && !reached.of->runs)
      die("a stream waits for what no stream will do");
    step(*reached.of, &reached);
  }
  close(device);
}

// -- memory -------------------------------------------------------------------------

std::byte* machine::allocate(int device, std::size_t size) {
  arena& own = arenas_[device];
  const auto taken = round_up(std::max<std::size_t>(size, 1), alignment) + gap_bytes;
  std::size_t at = 0;
  for (const auto& [offset, other] : own.allocated) {
    if (offset - at >= taken)
      break;
    at = offset + round_up(std::max<std::size_t>(other, 1), alignment) + gap_bytes;
  }
  if (at + taken > memory_bytes)
    return nullptr;
  own.allocated.emplace(at, size);
  own.used_bytes += taken;
  open(device);
  if (at + taken > own.opened_bytes) {
    own.opened_bytes = round_up(at + taken, page_bytes);
    own.protect(PROT_READ | PROT_WRITE);
  }
  own.poison(at, taken);
  close(device);
  return own.begin + at;
}

void machine::free(std::byte* address) {
  arena* const own = std::ranges::find_if(arenas_, [&](const arena& each) { return each.holds(address); });
  if (own == std::end(arenas_))
    die("cudaFree of what is no device's memory");
  const auto found = own->allocated.find(static_cast<std::size_t>(address - own->begin));
  if (found == own->allocated.end())
    die("cudaFree of what was not allocated, or was freed before");
  own->used_bytes -= round_up(std::max<std::size_t>(found->second, 1), alignment) + gap_bytes;
  const auto first = round_up(found->first, page_bytes), last = (found->first + found->second) / page_bytes * page_bytes;
  if (last > first)
    madvise(own->begin + first, last - first, MADV_DONTNEED);
  const auto device = static_cast<int>(own - arenas_);
  open(device);
  own->poison(found->first, found->second);
  close(device);
  own->allocated.erase(found);
}

void machine::check_device(int device, const void* address, std::size_t size, const char* what) const {
  const auto* const at = static_cast<const std::byte*>(address);
  if (const arena& own = arenas_[device]; own.holds(at)) {
    const auto offset = static_cast<std::size_t>(at - own.begin);
    auto found = own.allocated.upper_bound(offset);
    if (found != own.allocated.begin() && offset + size <= (--found)->first + found->second)
      return;
  }
  die("%s: %zu bytes at %p are not in one allocation of device %d", what, size, address, device);
}

void machine::check_pinned(const void* address, std::size_t size, const char* what) const {
  const auto* const at = static_cast<const std::byte*>(address);
  auto found = pinned.upper_bound(at);
  if (found == pinned.begin() || at + size > (--found)->first + found->second)
    die("%s: %zu bytes at %p are not page-locked: the copy would wait on the host", what, size, address);
}

}  // namespace troupe::emulator
