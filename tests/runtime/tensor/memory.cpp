#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "runtime/tensor/memory_pool.hpp"
#include "runtime/tensor/tensor.hpp"

namespace troupe::tests {

namespace {

bool is_aligned(const std::byte* address, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(address) % alignment == 0;
}

}  // namespace

TEST_CASE("a handle shares elements, never copies them") {
  const tensor whole = make_host_tensor(dtype::int32, {4, 3});
  for (std::int32_t i = 0; i < 12; ++i)
    whole.mutable_data<std::int32_t>()[i] = i;
  const tensor row = whole.slice(6, {3});
  CHECK(row.data<std::int32_t>()[0] == 6);
  CHECK(row.reshaped({3, 1}).shape() == shape{3, 1});
  row.mutable_data<std::int32_t>()[1] = 70;
  CHECK(whole.elements<std::int32_t>()[7] == 70);
  CHECK_FALSE(tensor());
}

TEST_CASE("a handle knows whether it is the only one") {
  tensor first = make_host_tensor(dtype::float32, {8});
  CHECK(first.unique());
  {
    const tensor part = first.slice(2, {2});
    CHECK_FALSE(first.unique());
    CHECK_FALSE(part.unique());
  }
  CHECK(first.unique());
  const tensor moved = std::move(first);
  CHECK(moved.unique());
}

TEST_CASE("host memory is aligned for vectors, and for huge pages from 4 MiB up") {
  for (const std::size_t size : {0ul, 1ul, 63ul, 64ul, 65ul, 100000ul, (4ul << 20) - 1}) {
    const buffer_ptr memory = make_host_buffer(size);
    CHECK(memory->size_bytes() == size);
    CHECK(is_aligned(memory->data(), 64));
    std::memset(memory->data(), 1, size);
  }
  for (const std::size_t size : {4ul << 20, (4ul << 20) + 1, (6ul << 20) - 3}) {
    const buffer_ptr memory = make_host_buffer(size);
    CHECK(is_aligned(memory->data(), 2ul << 20));
    std::memset(memory->data(), 1, size);
  }
}

TEST_CASE("the pool rounds sizes up by an eighth at most, in steps of an alignment") {
  CHECK(memory_pool::rounded_size(0) == 64);
  std::size_t before = 0;
  for (std::size_t size = 1; size < (std::size_t{1} << 40); size += 1 + size / 37) {
    const std::size_t rounded = memory_pool::rounded_size(size);
    CAPTURE(size);
    REQUIRE(rounded >= size);
    REQUIRE(rounded >= before);
    REQUIRE(rounded % 64 == 0);
    REQUIRE(rounded - size < std::max<std::size_t>(64, size / 8 + 1));
    REQUIRE(memory_pool::rounded_size(rounded) == rounded);
    before = rounded;
  }
}

TEST_CASE("a second round of the same sizes takes nothing from the system") {
  memory_pool pool;
  const std::vector<std::size_t> sizes{1, 64, 100, 100, 4096, 5000, 1 << 20, 5 << 20, 5 << 20};
  const auto take_all = [&] {
    std::vector<buffer_ptr> taken;
    for (const std::size_t size : sizes) {
      taken.push_back(pool.allocate(size));
      CHECK(taken.back()->size_bytes() == size);
      CHECK(is_aligned(taken.back()->data(), size >= 4 << 20 ? 2 << 20 : 64));
      std::memset(taken.back()->data(), 0xff, size);
    }
  };
  take_all();
  const memory_usage first = pool.usage();
  CHECK(first.in_use_bytes == 0);
  CHECK(first.peak_bytes == first.reserved_bytes);
  for (int round = 0; round < 10; ++round)
    take_all();
  CHECK(pool.usage().reserved_bytes == first.reserved_bytes);
  CHECK(pool.usage().peak_bytes == first.peak_bytes);
  pool.trim();
  CHECK(pool.usage().reserved_bytes == 0);
}

TEST_CASE("trimming leaves what is in use") {
  memory_pool pool;
  const buffer_ptr kept = pool.allocate(1000);
  pool.allocate(2000);
  CHECK(pool.usage().in_use_bytes == memory_pool::rounded_size(1000));
  CHECK(pool.usage().reserved_bytes == memory_pool::rounded_size(1000) + memory_pool::rounded_size(2000));
  pool.trim();
  CHECK(pool.usage().reserved_bytes == memory_pool::rounded_size(1000));
  std::memset(kept->data(), 7, 1000);
}

TEST_CASE("a request beyond all memory is refused, and the pool goes on") {
  memory_pool pool;
  CHECK_THROWS_AS(pool.allocate(std::size_t{1} << 62), std::bad_alloc);
  CHECK_THROWS_AS(pool.allocate(std::size_t{1} << 50), std::bad_alloc);
  CHECK(pool.usage().in_use_bytes == 0);
  CHECK(pool.allocate(10) != nullptr);
}

TEST_CASE("buffers may come back from any thread, and no two holders share one") {
  // Threads mark what they take, hand it to each other through a common queue, and check the mark before they drop it.
  memory_pool pool;
  std::mutex mutex;
  std::deque<std::pair<buffer_ptr, unsigned char>> queue;
  std::atomic<int> spoiled{0};
  const auto work = [&](unsigned seed) {
    std::mt19937 random(seed);
    for (int i = 0; i < 3000; ++i) {
      const auto mark = static_cast<unsigned char>(random());
      buffer_ptr taken = pool.allocate(1 + random() % 3000);
      std::memset(taken->data(), mark, taken->size_bytes());
      std::pair<buffer_ptr, unsigned char> other;
      {
        const std::lock_guard lock(mutex);
        queue.emplace_back(std::move(taken), mark);
        if (queue.size() > 20) {
          other = std::move(queue.front());
          queue.pop_front();
        }
      }
      if (other.first)
        for (std::size_t at = 0; at < other.first->size_bytes(); ++at)
          if (other.first->data()[at] != std::byte{other.second})
            ++spoiled;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 4; ++seed)
    threads.emplace_back(work, seed);
  for (std::thread& thread : threads)
    thread.join();
  CHECK(spoiled == 0);
  queue.clear();
  CHECK(pool.usage().in_use_bytes == 0);
  CHECK(pool.usage().peak_bytes <= pool.usage().reserved_bytes);
}

}  // namespace troupe::tests
