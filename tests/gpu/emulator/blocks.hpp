#pragma once

#include <cstddef>
#include <functional>

#include <cuda_runtime.h>

namespace troupe::emulator {

/// Runs a grid, block after block, its threads as fibers: warps in random order, each as far ahead of the others as
/// barriers let it, so that a kernel that needs a barrier and has none gives wrong results. Dies with a message where threads of a block, or lanes of
/// a warp, wait for each other in vain. Not thread safe.
void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& thread);

/// Prints what the program under test did wrong, and aborts.
[[noreturn]] void die(const char* format, ...);

}  // namespace troupe::emulator
