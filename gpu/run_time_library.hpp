#pragma once

#include <dlfcn.h>

#include <cstdlib>
#include <string>

namespace troupe::gpu {

/// A library that is opened at run time, so that this folder is built and runs without it. It stays for as long as the
/// process: such libraries keep threads, or kernels under way.
class run_time_library {
 public:
  /// What the environment variable names, or else `file`, where the dynamic linker finds it.
  static std::string file_named(const char* variable, const char* file) {
    const char* const chosen = std::getenv(variable);
    return chosen && *chosen ? chosen : file;
  }

  explicit run_time_library(const std::string& file) : handle_(dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (!handle_)
      fault_ = dlerror();
  }

  explicit operator bool() const noexcept { return handle_ != nullptr; }
  /// Why it could not be opened.
  const std::string& fault() const noexcept { return fault_; }

  /// False: it has no such function.
  template <class Function>
  bool find(Function*& function, const char* name) const {
    function = reinterpret_cast<Function*>(dlsym(handle_, name));
    return function != nullptr;
  }

 private:
  void* handle_;
  std::string fault_;
};

}  // namespace troupe::gpu
