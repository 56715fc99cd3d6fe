#pragma once

/// For tests that make the emulated GPU fail, or be another machine.

#include <dlfcn.h>

#include <cstdlib>
#include <optional>
#include <string>

#include <doctest/doctest.h>

#include "runtime/tensor/device_module.hpp"

namespace troupe::tests {

/// A function of the emulated GPU's. Null: the device under test is a real one.
template <class Function>
Function emulated(const char* name) {
  const char* const file = std::getenv("TROUPE_CUDA_LIBRARY");
  void* const library = file ? dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD) : nullptr;
  return library ? reinterpret_cast<Function>(dlsym(library, name)) : nullptr;
}

/// Loses the device with this error (of enum cudaError_t) when the next piece of work is done; 0 mends it.
using fail_function = void (*)(int error);
inline fail_function emulated_failure() { return emulated<fail_function>("emulated_gpu_fail"); }

/// The message of the device_error that `what` throws; empty: none.
template <class What>
std::string fault_of(What what) {
  try {
    what();
  } catch (const device_error& fault) {
    return fault.what();
  }
  return {};
}

/// Sets a variable of the environment while it lives.
class variable {
 public:
  variable(const char* name, const std::string& value) : name_(name) {
    if (const char* const before = std::getenv(name))
      before_ = before;
    setenv(name, value.c_str(), 1);
  }
  ~variable() {
    if (before_)
      setenv(name_, before_->c_str(), 1);
    else
      unsetenv(name_);
  }
  variable(const variable&) = delete;
  variable& operator=(const variable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

/// While it lives there are two GPUs, where the GPU under test is emulated, or has a neighbour; otherwise it is false, and
/// says so.
class two_gpus {
 public:
  two_gpus() {
    if (emulated_failure())
      machine_.emplace("EMULATED_GPU", "two-devices");
    else if (!*this)
      MESSAGE("skipped: this machine has one GPU");
  }

  explicit operator bool() const { return find_cuda("cuda").size() > 1; }

 private:
  std::optional<variable> machine_;
};

}  // namespace troupe::tests
