#include "blocks.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#if !defined(__x86_64__)
#error "the emulator switches stacks by the x86-64 calling convention"
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace troupe::emulator {

void die(const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  std::fputs("emulated GPU: ", stderr);
  std::vfprintf(stderr, format, arguments);
  std::fputs("\n", stderr);
  va_end(arguments);
  std::abort();
}

namespace {

constexpr unsigned lanes = 32;
constexpr std::size_t stack_bytes = 64 << 10;

/// Saves the registers that a call preserves on the stack at hand, and goes on where `to` was saved.
extern "C" void emulator_switch(void** from, void* to);
asm(R"(
.text
.type emulator_switch, @function
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulator_switch, .-emulator_switch
)");

enum class state { runs, waits_for_block, waits_for_warp, done };

struct fiber {
  std::unique_ptr<std::byte[]> stack{new std::byte[stack_bytes]};
  void* saved = nullptr;
  emulator::state state = state::done;
  /// Groups of copies that nobody has waited for; the last is the one at hand.
  std::deque<std::vector<std::function<void()>>> copies;
};

constexpr std::size_t slot_bytes_max = 32;

struct warp {
  unsigned waiting = 0;
  std::byte slots[lanes][slot_bytes_max];
};

/// The block at hand.
struct {
  std::vector<fiber> fibers;
  std::vector<warp> warps;
  std::vector<std::byte> shared;
  const std::function<void()>* thread = nullptr;
  void* scheduler = nullptr;
  unsigned current = 0;
  unsigned threads = 0;
  unsigned waiting = 0;  // for the block
  unsigned done = 0;
  std::minstd_rand random{1};
} block;

void leave() { emulator_switch(&block.fibers[block.current].saved, block.scheduler); }

/// Where every fiber begins.
void begin() {
  (*block.thread)();
  fiber& own = block.fibers[block.current];
  if (std::ranges::any_of(own.copies, [](const auto& group) { return !group.empty(); }))
    die("a thread ends with copies under way that it has not waited for");
  own.state = state::done;
  ++block.done;
  leave();
}

void prepare(fiber& one) {
  auto top = reinterpret_cast<std::uintptr_t>(one.stack.get() + stack_bytes) & ~std::uintptr_t{15};
  auto** at = reinterpret_cast<void**>(top);
  *--at = nullptr;  // as if called: keeps the alignment that calls expect
  *--at = reinterpret_cast<void*>(&begin);
  at -= 6;  // the registers
  one.saved = at;
  one.state = state::runs;
  one.copies.assign(1, {});
}

void enter(unsigned index) {
  block.current = index;
  threadIdx = {index % blockDim.x, index / blockDim.x % blockDim.y, index / blockDim.x / blockDim.y};
  emulator_switch(&block.scheduler, block.fibers[index].saved);
}

/// Each lane that can run, until it waits; false: none could.
bool run_warp(unsigned warp, const std::vector<unsigned>& order) {
  bool moved = false;
  for (const unsigned lane : order)
    if (const unsigned index = warp * lanes + lane; block.fibers[index].state == state::runs) {
      moved = true;
      enter(index);
    }
  return moved;
}

void run_block() {
  for (unsigned i = 0; i < block.threads; ++i)
    prepare(block.fibers[i]);
  std::fill(block.shared.begin(), block.shared.end(), std::byte{0xff});  // NaN
  block.waiting = block.done = 0;
  for (warp& each : block.warps)
    each.waiting = 0;
  std::vector<unsigned> warps(block.warps.size()), order(lanes);
  std::iota(warps.begin(), warps.end(), 0u);
  std::iota(order.begin(), order.end(), 0u);
  std::shuffle(order.begin(), order.end(), block.random);
  while (block.done < block.threads) {
    std::shuffle(warps.begin(), warps.end(), block.random);
    bool moved = false;
    for (const unsigned warp : warps)
      while (run_warp(warp, order))  // as far as it gets before the others move at all
        moved = true;
    if (!moved)
      die("%u of %u threads of a block wait for others that do not come: %u at a barrier, %u ended", block.threads - block.done,
          block.threads, block.waiting, block.done);
  }
}

}  // namespace

void run_grid(dim3 grid, dim3 threads, std::size_t shared_bytes, const std::function<void()>& thread) {
  gridDim = grid;
  blockDim = threads;
  block.thread = &thread;
  block.threads = threads.x * threads.y * threads.z;
  if (block.fibers.size() < block.threads)
    block.fibers.resize(block.threads);
  block.warps.resize(block.threads / lanes);
  block.shared.resize(shared_bytes);
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = {x, y, z};
        run_block();
      }
}

}  // namespace troupe::emulator

using troupe::emulator::block;
using troupe::emulator::state;

void __syncthreads() {
  if (++block.waiting < block.threads) {
    block.fibers[block.current].state = state::waits_for_block;
    troupe::emulator::leave();
    return;
  }
  block.waiting = 0;
  for (unsigned i = 0; i < block.threads; ++i)
    if (block.fibers[i].state == state::waits_for_block)
      block.fibers[i].state = state::runs;
}

void* emulated_shared_memory() { return block.shared.data(); }

void emulated_access(const void* address, std::size_t size) {
  const auto* own = block.fibers[block.current].stack.get();
  const bool in_registers = address >= own && address < own + troupe::emulator::stack_bytes;
  if (!in_registers && reinterpret_cast<std::uintptr_t>(address) % size != 0)
    troupe::emulator::die("an access of %zu bytes at %p, which is no multiple of that", size, address);
}

unsigned emulated_lane() { return block.current % troupe::emulator::lanes; }

namespace {

void wait_for_warp() {
  using troupe::emulator::lanes;
  const unsigned first = block.current / lanes * lanes;
  auto& own = block.warps[block.current / lanes];
  if (++own.waiting < lanes) {
    block.fibers[block.current].state = state::waits_for_warp;
    troupe::emulator::leave();
    return;
  }
  own.waiting = 0;
  for (unsigned i = first; i < first + lanes; ++i)
    if (block.fibers[i].state == state::waits_for_warp)
      block.fibers[i].state = state::runs;
}

/// What every lane of the warp hands in, in the same call.
template <class T>
std::array<T, troupe::emulator::lanes> exchange(const T& own) {
  static_assert(sizeof(T) <= troupe::emulator::slot_bytes_max);
  auto& slots = block.warps[block.current / troupe::emulator::lanes].slots;
  std::memcpy(slots[emulated_lane()], &own, sizeof own);
  wait_for_warp();
  std::array<T, troupe::emulator::lanes> all;
  for (unsigned lane = 0; lane < all.size(); ++lane)
    std::memcpy(&all[lane], slots[lane], sizeof own);
  wait_for_warp();  // before the slots are used again
  return all;
}

float low_half(std::uint32_t pair) { return std::bit_cast<float>(pair << 16); }
float high_half(std::uint32_t pair) { return std::bit_cast<float>(pair & 0xffff0000u); }

void check_shared(const void* address, const char* what) {
  const auto* byte = static_cast<const std::byte*>(address);
  constexpr std::size_t size = 16;
  if (byte < block.shared.data() || byte + size > block.shared.data() + block.shared.size() ||
      (byte - block.shared.data()) % size != 0)
    troupe::emulator::die("%s: 16 bytes of shared memory at offset %td of %zu", what, byte - block.shared.data(),
                          block.shared.size());
}

}  // namespace

std::uint64_t emulated_shuffle(unsigned mask, std::uint64_t bits, unsigned source) {
  if (mask != 0xffffffffu)
    troupe::emulator::die("a shuffle of part of a warp: mask %08x", mask);
  return exchange(bits)[source];
}

void emulated_multiply_add(float* sums, const std::uint32_t* left, const std::uint32_t* right) {
  struct factors {
    std::uint32_t left[4], right[2];
  } own;
  std::copy_n(left, 4, own.left);
  std::copy_n(right, 2, own.right);
  const auto all = exchange(own);
  const unsigned group = emulated_lane() / 4, member = emulated_lane() % 4;
  for (unsigned half = 0; half < 2; ++half)
    for (unsigned i = 0; i < 2; ++i)
      for (unsigned depth = 0; depth < 2; ++depth)  // eight terms each
        for (unsigned k = 0; k < 4; ++k) {
          const std::uint32_t a = all[group * 4 + k].left[depth * 2 + half];
          const std::uint32_t b = all[(member * 2 + i) * 4 + k].right[depth];
          sums[half * 2 + i] += low_half(a) * low_half(b) + high_half(a) * high_half(b);
        }
}

void emulated_load_matrices(std::uint32_t* to, const void* row, bool transposed) {
  check_shared(row, "ldmatrix");
  const auto rows = exchange(static_cast<const std::uint16_t*>(row));
  const unsigned group = emulated_lane() / 4, member = emulated_lane() % 4;
  for (unsigned matrix = 0; matrix < 4; ++matrix) {
    const auto element = [&](unsigned r, unsigned c) { return std::uint32_t{rows[matrix * 8 + r][c]}; };
    const unsigned first = member * 2;
    to[matrix] = transposed ? element(first, group) | element(first + 1, group) << 16
                            : element(group, first) | element(group, first + 1) << 16;
  }
}

void emulated_copy_ahead(void* to, const void* from, bool exists) {
  check_shared(to, "cp.async");
  constexpr std::size_t size = 16;
  if (exists && reinterpret_cast<std::uintptr_t>(from) % size != 0)
    troupe::emulator::die("cp.async from %p, which is no multiple of 16", from);
  block.fibers[block.current].copies.back().push_back([=] {
    if (exists)
      std::memcpy(to, from, size);
    else
      std::memset(to, 0, size);
  });
}

void emulated_end_copy_group() { block.fibers[block.current].copies.emplace_back(); }

void emulated_wait_for_copies(int but) {
  auto& groups = block.fibers[block.current].copies;
  while (groups.size() > static_cast<std::size_t>(but) + 1) {
    for (const auto& copy : groups.front())
      copy();
    groups.pop_front();
  }
}
