#include "runtime/tensor/host_memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "runtime/tensor/buffer.hpp"

namespace troupe {

namespace {

constexpr std::size_t cache_line_bytes = 64;
constexpr std::size_t page_bytes = std::size_t{64} << 10;  // the largest that Linux uses anywhere by default
constexpr std::size_t huge_page_bytes = std::size_t{2} << 20;
constexpr std::size_t huge_bytes_min = 2 * huge_page_bytes;
/// From here on blocks are mapped and not taken from the heap, whose holes between them nobody could use.
constexpr std::size_t mapped_bytes_min = std::size_t{1} << 20;

constexpr std::size_t round_up(std::size_t value, std::size_t multiple) noexcept {
  return (value + multiple - 1) / multiple * multiple;
}

std::byte* map(std::size_t size_bytes) {
  void* const address = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED)
    throw std::bad_alloc();
  return static_cast<std::byte*>(address);
}

std::byte* map_huge_pages(std::size_t size_bytes) {
  // Longer than asked by one huge page, so that an aligned range lies within; what is around it goes back at once.
  const std::size_t wanted = round_up(size_bytes, page_bytes);
  auto* const begin = map(wanted + huge_page_bytes);
  const std::size_t before = round_up(reinterpret_cast<std::uintptr_t>(begin), huge_page_bytes) -
                             reinterpret_cast<std::uintptr_t>(begin);
  if (before != 0)
    munmap(begin, before);
  munmap(begin + before + wanted, huge_page_bytes - before);
  madvise(begin + before, wanted, MADV_HUGEPAGE);  // advice: where the kernel declines, small pages do
  return begin + before;
}

class host_buffer final : public buffer {
 public:
  explicit host_buffer(std::size_t size_bytes) : buffer(allocate_host_memory(size_bytes), size_bytes) {}
  ~host_buffer() override { free_host_memory(data_, size_bytes_); }
};

}  // namespace

std::byte* allocate_host_memory(std::size_t size_bytes) {
  if (size_bytes >= huge_bytes_min)
    return map_huge_pages(size_bytes);
  if (size_bytes >= mapped_bytes_min)
    return map(round_up(size_bytes, page_bytes));
  const std::size_t wanted = round_up(std::max(size_bytes, cache_line_bytes), cache_line_bytes);
  void* const memory = std::aligned_alloc(cache_line_bytes, wanted);
  if (memory == nullptr)
    throw std::bad_alloc();
  return static_cast<std::byte*>(memory);
}

void free_host_memory(std::byte* memory, std::size_t size_bytes) noexcept {
  if (size_bytes >= mapped_bytes_min)
    munmap(memory, round_up(size_bytes, page_bytes));
  else
    std::free(memory);
}

buffer_ptr make_host_buffer(std::size_t size_bytes) {
  return std::make_shared<host_buffer>(size_bytes);
}

}  // namespace troupe
