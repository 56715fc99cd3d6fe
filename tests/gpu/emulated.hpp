#pragma once

/// For tests that make the emulated GPU fail: they have nothing to do on a real one.

#include <dlfcn.h>

#include <cstdlib>

namespace troupe::tests {

/// Loses the device with this error (of enum cudaError_t) when the next piece of work is done; 0 mends it.
using fail_function = void (*)(int error);

/// Null: the device under test is a real one.
inline fail_function emulated_failure() {
  const char* const file = std::getenv("TROUPE_CUDA_LIBRARY");
  void* const library = file ? dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD) : nullptr;
  return library ? reinterpret_cast<fail_function>(dlsym(library, "emulated_gpu_fail")) : nullptr;
}

}  // namespace troupe::tests
