#include "machine.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

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

machine::machine() {
  arena_ = static_cast<std::byte*>(
      mmap(nullptr, memory_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (arena_ == MAP_FAILED)
    die("no address space for the device's memory");
}

cudaError_t machine::result(cudaError_t status) {
  if (sticky != cudaSuccess)
    status = sticky;
  if (status != cudaSuccess)
    last = status;
  return status;
}

// -- work ---------------------------------------------------------------------------

void machine::open() {
  if (depth_++ == 0 && opened_bytes_ > 0 && mprotect(arena_, opened_bytes_, PROT_READ | PROT_WRITE) != 0)
    die("mprotect");
}

void machine::close() {
  if (--depth_ == 0 && opened_bytes_ > 0 && mprotect(arena_, opened_bytes_, PROT_NONE) != 0)
    die("mprotect");
}

void machine::step(emulated_stream& on) {
  const auto work = std::move(on.work.front());
  on.work.pop_front();
  if (sticky == cudaSuccess)
    work();
  if (fails_next != cudaSuccess)
    sticky = std::exchange(fails_next, cudaSuccess);
}

void machine::enqueue(emulated_stream& on, std::function<void()> work) {
  on.work.push_back(std::move(work));
  constexpr unsigned one_in = 16;
  if (on.work.size() > work_max || random_() % one_in == 0) {
    open();
    auto& any = on.work.size() > work_max ? on : *streams[random_() % streams.size()];
    for (auto count = random_() % (any.work.size() + 1) + (any.work.size() > work_max); count > 0 && !any.work.empty(); --count)
      step(any);
    close();
  }
}

void machine::drain(emulated_stream& on) {
  open();
  while (!on.work.empty())
    step(on);
  close();
}

void machine::drain_all() {
  for (emulated_stream* each : streams)
    drain(*each);
}

bool machine::is_idle() const {
  return std::ranges::all_of(streams, [](const emulated_stream* each) { return each->work.empty(); });
}

void machine::run_until(const point& reached) {
  open();
  while (!reached.reached && sticky == cudaSuccess) {
    if (reached.of->work.empty())
      die("a stream waits for what no stream will do");
    step(*reached.of);
  }
  close();
}

// -- memory -------------------------------------------------------------------------

std::byte* machine::allocate(std::size_t size) {
  const auto taken = round_up(std::max<std::size_t>(size, 1), alignment) + gap_bytes;
  std::size_t at = 0;
  for (const auto& [offset, other] : allocated_) {
    if (offset - at >= taken)
      break;
    at = offset + round_up(std::max<std::size_t>(other, 1), alignment) + gap_bytes;
  }
  if (at + taken > memory_bytes)
    return nullptr;
  allocated_.emplace(at, size);
  used_bytes_ += taken;
  open();
  if (at + taken > opened_bytes_) {
    opened_bytes_ = round_up(at + taken, page_bytes);
    if (mprotect(arena_, opened_bytes_, PROT_READ | PROT_WRITE) != 0)
      die("mprotect");
  }
  // Pages that nobody touches cost nothing when the arena is opened and closed: of large memory only the ends.
  const auto part = std::min(taken, poison_bytes_max);
  std::memset(arena_ + at, 0xff, part);
  std::memset(arena_ + at + taken - part, 0xff, part);
  close();
  return arena_ + at;
}

void machine::free(std::byte* address) {
  const auto found = allocated_.find(static_cast<std::size_t>(address - arena_));
  if (found == allocated_.end())
    die("cudaFree of what was not allocated, or was freed before");
  used_bytes_ -= round_up(std::max<std::size_t>(found->second, 1), alignment) + gap_bytes;
  const auto first = round_up(found->first, page_bytes), last = (found->first + found->second) / page_bytes * page_bytes;
  if (last > first)
    madvise(arena_ + first, last - first, MADV_DONTNEED);
  allocated_.erase(found);
}

void machine::check_device(const void* address, std::size_t size, const char* what) const {
  const auto* const at = static_cast<const std::byte*>(address);
  if (at >= arena_ && at < arena_ + memory_bytes) {
    const auto offset = static_cast<std::size_t>(at - arena_);
    auto found = allocated_.upper_bound(offset);
    if (found != allocated_.begin() && offset + size <= (--found)->first + found->second)
      return;
  }
  die("%s: %zu bytes at %p are not in one allocation of the device", what, size, address);
}

void machine::check_pinned(const void* address, std::size_t size, const char* what) const {
  const auto* const at = static_cast<const std::byte*>(address);
  auto found = pinned.upper_bound(at);
  if (found == pinned.begin() || at + size > (--found)->first + found->second)
    die("%s: %zu bytes at %p are not page-locked: the copy would wait on the host", what, size, address);
}

}  // namespace troupe::emulator
