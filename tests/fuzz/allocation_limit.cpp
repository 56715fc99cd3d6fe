// A size field that lies must not become an allocation: one block larger than any small input can justify ends the
// run, wherever it is asked for, since `operator new` of the executable serves the shared libraries too. Sanitizers
// and libFuzzer have such limits of their own.

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace {

constexpr std::size_t block_bytes_max = std::size_t{64} << 20;

void* allocate(std::size_t size, std::size_t alignment) {
  if (size > block_bytes_max) {
    std::fprintf(stderr, "an allocation of %zu bytes was asked for\n", size);
    std::abort();
  }
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  void* block = alignment <= alignof(std::max_align_t) ? std::malloc(size) : std::aligned_alloc(alignment, rounded);
  if (!block && size != 0)
    throw std::bad_alloc();
  return block;
}

}  // namespace

void* operator new(std::size_t size) {
  return allocate(size == 0 ? 1 : size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size == 0 ? 1 : size, static_cast<std::size_t>(alignment));
}
void operator delete(void* block) noexcept {
  std::free(block);
}
void operator delete(void* block, std::size_t) noexcept {
  std::free(block);
}
void operator delete(void* block, std::align_val_t) noexcept {
  std::free(block);
}
void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
  std::free(block);
}

#endif
