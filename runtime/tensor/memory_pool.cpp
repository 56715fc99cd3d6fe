#include "runtime/tensor/memory_pool.hpp"

#include <bit>
#include <new>
#include <utility>

#include "runtime/tensor/host_memory.hpp"

namespace troupe {

namespace {

constexpr std::size_t log2_alignment = 6;

/// A rounded size: 9 to 16 steps of a power of two; up to 512 bytes 1 to 8 steps of 64 bytes, the alignment.
struct size_class {
  std::size_t steps;
  std::size_t log2_step;

  std::size_t size_bytes() const noexcept { return steps << log2_step; }
  /// Counts the classes from the smallest up.
  std::size_t index() const noexcept { return (log2_step - log2_alignment) * 8 + steps - 1; }
};

size_class class_of(std::size_t size_bytes) noexcept {
  if (size_bytes == 0)
    return {1, log2_alignment};
  const auto width = static_cast<std::size_t>(std::bit_width(size_bytes - 1));  // up to 2^width, beyond half of it
  const std::size_t log2_step = width > 10 ? width - 4 : log2_alignment;
  return {((size_bytes - 1) >> log2_step) + 1, log2_step};
}

}  // namespace

class pooled_buffer final : public buffer {
 public:
  pooled_buffer(memory_pool& pool, std::size_t size_bytes) : buffer(pool.take(size_bytes), size_bytes), pool_(pool) {}
  ~pooled_buffer() override { pool_.give_back(data_, size_bytes_); }

 private:
  memory_pool& pool_;
};

std::size_t memory_pool::rounded_size(std::size_t size_bytes) noexcept {
  return class_of(size_bytes).size_bytes();
}

buffer_ptr memory_pool::allocate(std::size_t size_bytes) {
  return std::make_shared<pooled_buffer>(*this, size_bytes);
}

std::byte* memory_pool::take(std::size_t size_bytes) {
  const size_class wanted = class_of(size_bytes);
  if (wanted.index() >= lists_.size())
    throw std::bad_alloc();
  free_list& list = lists_[wanted.index()];
  free_block* block = nullptr;
  {
    const std::lock_guard lock(list.mutex);
    block = list.first;
    if (block != nullptr)
      list.first = block->next;
  }
  auto* const memory = block != nullptr ? reinterpret_cast<std::byte*>(block)
                                        : allocate_from_system(wanted.size_bytes());
  const std::size_t in_use = in_use_bytes_.fetch_add(wanted.size_bytes()) + wanted.size_bytes();
  std::size_t peak = peak_bytes_.load();
  while (peak < in_use && !peak_bytes_.compare_exchange_weak(peak, in_use)) {
  }
  return memory;
}

void memory_pool::give_back(std::byte* memory, std::size_t size_bytes) noexcept {
  const size_class given = class_of(size_bytes);
  in_use_bytes_.fetch_sub(given.size_bytes());
  free_list& list = lists_[given.index()];
  const std::lock_guard lock(list.mutex);
  list.first = new (memory) free_block{list.first};
}

std::byte* memory_pool::allocate_from_system(std::size_t size_bytes) {
  std::byte* memory = nullptr;
  try {
    memory = allocate_host_memory(size_bytes);
  } catch (const std::bad_alloc&) {
    trim();
    memory = allocate_host_memory(size_bytes);
  }
  reserved_bytes_.fetch_add(size_bytes);
  return memory;
}

memory_usage memory_pool::usage() const noexcept {
  return {in_use_bytes_.load(), peak_bytes_.load(), reserved_bytes_.load()};
}

void memory_pool::trim() noexcept {
  // Classes come from the sizes they hold: the first is 64 bytes, and each next is the least that is greater.
  std::size_t size_bytes = 0;
  for (free_list& list : lists_) {
    size_bytes = rounded_size(size_bytes + 1);
    free_block* block = nullptr;
    {
      const std::lock_guard lock(list.mutex);
      block = std::exchange(list.first, nullptr);
    }
    while (block != nullptr) {
      free_block* const next = block->next;
      free_host_memory(reinterpret_cast<std::byte*>(block), size_bytes);
      reserved_bytes_.fetch_sub(size_bytes);
      block = next;
    }
  }
}

}  // namespace troupe
