#include "runtime/tensor/device_module.hpp"

#include <dlfcn.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

#include "runtime/tensor/seam_fingerprint.hpp"

namespace troupe {

namespace {

constexpr auto file_name = "libtroupe_cuda.so";
constexpr auto variable = "TROUPE_CUDA_LIBRARY";

/// Where this library's own file is.
std::filesystem::path own_directory() {
  Dl_info found{};
  if (dladdr(reinterpret_cast<const void*>(&seam_fingerprint), &found) == 0 || !found.dli_fname)
    return {};
  return std::filesystem::absolute(found.dli_fname).parent_path();
}

const device_module& open(const std::filesystem::path& file, bool chosen) {
  if (!std::filesystem::exists(file))
    throw device_error(chosen ? fmt::format("{} = {}: there is no such file\nhelp: name the {} of this build, or unset it",
                                            variable, file.string(), file_name)
                              : fmt::format("this build has no CUDA support: there is no {}\nhelp: build it where the "
                                            "CUDA toolkit is (cmake -DTROUPE_CUDA=ON), or name it in {}",
                                            file.string(), variable));
  void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library)
    throw device_error(fmt::format("{} cannot be opened: {}\nhelp: it needs the CUDA runtime libraries (cuBLASLt) where "
                                   "the dynamic linker finds them, such as by LD_LIBRARY_PATH",
                                   file.string(), dlerror()));
  const auto entry = reinterpret_cast<device_module_entry>(dlsym(library, "troupe_device_module"));
  if (!entry) {
    dlclose(library);
    throw device_error(fmt::format("{} is no library of devices: it does not export troupe_device_module\nhelp: name the "
                                   "{} of this build in {}, or unset it",
                                   file.string(), file_name, variable));
  }
  const device_module& module = *entry();
  if (std::strcmp(module.seam, seam_fingerprint()) != 0) {
    const auto message = fmt::format("{} was built from other sources than this program: seam {}, expected {}\nhelp: "
                                     "build both together",
                                     file.string(), module.seam, seam_fingerprint());
    dlclose(library);
    throw device_error(message);
  }
  return module;  // never closed: its devices live as long as the process
}

}  // namespace

const char* seam_fingerprint() noexcept { return compiled_seam_fingerprint; }

const device_module& cuda_module() {
  static const device_module& only = [&]() -> const device_module& {  // what throws is tried again at the next call
    const char* const chosen = std::getenv(variable);
    return chosen && *chosen ? open(chosen, true) : open(own_directory() / file_name, false);
  }();
  return only;
}

std::optional<int> cuda_index(std::string_view name) noexcept {
  constexpr std::string_view kind = "cuda", mark = ":";
  if (name == kind)
    return 0;
  if (!name.starts_with(kind) || !name.substr(kind.size()).starts_with(mark))
    return {};
  const auto digits = name.substr(kind.size() + mark.size());
  int index = 0;
  const auto [end, fault] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (fault != std::errc() || end != digits.data() + digits.size() || index < 0)
    return {};
  return index;
}

device& find_cuda_device(int index) {
  const device_module& module = cuda_module();
  if (const int count = module.count(); index >= count)
    throw device_error(count == 1 ? "this machine has one CUDA device, cuda:0"
                                  : fmt::format("this machine has {} CUDA devices, cuda:0 to cuda:{}", count, count - 1));
  return module.at(index);
}

}  // namespace troupe
