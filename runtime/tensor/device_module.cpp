#include "runtime/tensor/device_module.hpp"

#include <dlfcn.h>

#include <algorithm>
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

/// The numbers behind "cuda:", none of them twice; an empty list for "cuda"; nothing for other names.
std::optional<std::vector<int>> indices_of(std::string_view name) {
  constexpr std::string_view kind = "cuda";
  std::vector<int> indices;
  if (name == kind)
    return indices;
  if (!name.starts_with(kind))
    return {};
  name.remove_prefix(kind.size());
  for (char mark = ':'; !name.empty(); mark = ',') {
    int index = -1;
    const auto* const last = name.data() + name.size();
    const auto [end, fault] = std::from_chars(name.data() + 1, last, index);
    if (name.front() != mark || fault != std::errc() || index < 0 || std::ranges::count(indices, index) > 0)
      return {};
    indices.push_back(index);
    name = {end, last};
  }
  return indices;
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

bool is_cuda(std::string_view name) { return indices_of(name).has_value(); }

std::vector<int> find_cuda(std::string_view name) {
  const int count = cuda_module().count();
  auto indices = *indices_of(name);
  if (indices.empty())
    for (int index = 0; index < count; ++index)
      indices.push_back(index);
  for (const int index : indices)
    if (index >= count)
      throw device_error(count == 1 ? "this machine has one CUDA device, cuda:0"
                                    : fmt::format("this machine has {} CUDA devices, cuda:0 to cuda:{}", count, count - 1));
  return indices;
}

}  // namespace troupe
