#include "blocks.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
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
};

struct warp {
  unsigned waiting = 0;
  std::uint64_t slots[lanes];
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
  block.fibers[block.current].state = state::done;
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

}  // namespace

std::uint64_t emulated_shuffle(unsigned mask, std::uint64_t bits, unsigned source) {
  if (mask != 0xffffffffu)
    troupe::emulator::die("a shuffle of part of a warp: mask %08x", mask);
  auto& own = block.warps[block.current / troupe::emulator::lanes];
  own.slots[emulated_lane()] = bits;
  wait_for_warp();
  const std::uint64_t result = own.slots[source];
  wait_for_warp();  // before the slots are used again
  return result;
}
