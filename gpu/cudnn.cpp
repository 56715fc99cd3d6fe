#include "gpu/cudnn.hpp"

#include <array>

#include <fmt/format.h>

#include "gpu/run_time_library.hpp"

namespace troupe::gpu {

namespace {

/// Before 9.15.1 lengths that are no multiples of 128 wanted a mask of their own in the backward pass.
constexpr std::size_t version_min = 9'16'00, version_end = 10'00'00;

}  // namespace

std::shared_ptr<const cudnn> cudnn::open() {
  const auto file = run_time_library::file_named("TROUPE_CUDNN_LIBRARY", "libcudnn.so.9");
  if (file == "off")
    throw cudnn_refusal("TROUPE_CUDNN_LIBRARY is off");
  const run_time_library library(file);
  if (!library)
    throw cudnn_refusal(fmt::format("there is no cuDNN: {}\nhelp: install it where the dynamic linker finds it, or name "
                                    "it in TROUPE_CUDNN_LIBRARY",
                                    library.fault()));
  const auto found = std::make_shared<cudnn>();
  const auto load = [&](auto& function, const char* name) {
    if (!library.find(function, name))
      throw cudnn_refusal(fmt::format("{} is no cuDNN 9: it has no {}\nhelp: 9.16 or later is needed", file, name));
  };
  load(found->get_version, "cudnnGetVersion");
  load(found->create, "cudnnCreate");
  load(found->destroy, "cudnnDestroy");
  load(found->set_stream, "cudnnSetStream");
  load(found->create_descriptor, "cudnnBackendCreateDescriptor");
  load(found->destroy_descriptor, "cudnnBackendDestroyDescriptor");
  load(found->set_attribute, "cudnnBackendSetAttribute");
  load(found->get_attribute, "cudnnBackendGetAttribute");
  load(found->finalize, "cudnnBackendFinalize");
  load(found->execute, "cudnnBackendExecute");
  load(found->get_error_string, "cudnnGetErrorString");
  load(found->get_last_error_string, "cudnnGetLastErrorString");
  if (const auto version = found->get_version(); version < version_min || version >= version_end)
    throw cudnn_refusal(fmt::format("{} is {}, expected 9.16 or a later 9\nhelp: install that, or name it in "
                                    "TROUPE_CUDNN_LIBRARY",
                                    file, found->name()));
  return found;
}

std::string cudnn::name() const {
  const auto version = get_version();
  return fmt::format("cuDNN {}.{}.{}", version / 10'000, version / 100 % 100, version % 100);
}

void cudnn::check(int status, const char* doing) const {
  if (status == success)
    return;
  std::array<char, 512> text{};
  get_last_error_string(text.data(), text.size());
  const auto message = fmt::format("{}: {}: {} {}", name(), doing, get_error_string(status), text.data());
  if (status < internal_error)
    throw cudnn_refusal(message);
  throw device_error(message);
}

}  // namespace troupe::gpu
