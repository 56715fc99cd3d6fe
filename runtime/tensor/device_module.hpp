#pragma once

/// Devices from a library of their own, opened when the first of them is asked for: so one build of everything else
/// runs with and without a GPU, its driver and its toolkit.
///
/// The library is `libtroupe_cuda.so` beside `libtroupe_runtime.so`, or what TROUPE_CUDA_LIBRARY names. It exports one
/// function, `troupe_device_module`, that takes nothing and returns a `const device_module*`.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tensor/device.hpp"
#include "runtime/tensor/device_channel.hpp"

namespace troupe {

/// What a device says of itself.
struct device_facts {
  std::string name;                    ///< such as "NVIDIA H100 80GB HBM3"
  std::string architecture;            ///< such as "sm_90"
  std::string driver;                  ///< its version
  std::string toolkit;                 ///< version of the libraries it is used through
  int processors = 0;                  ///< streaming multiprocessors
  std::size_t memory_bytes = 0;
  std::size_t free_bytes = 0;
  std::optional<double> utilization;   ///< share of the last moment in which it worked; where the driver tells
  std::optional<double> power_watts;
  std::optional<double> energy_joules; ///< since the driver was loaded
};

/// What was measured, in a fraction of a second.
struct device_rates {
  double copy_bytes_per_second = 0.0;       ///< within the device, reads and writes counted
  double to_device_bytes_per_second = 0.0;  ///< from pinned memory
  double to_host_bytes_per_second = 0.0;
  double matrix_flops = 0.0;                ///< per second, of large float32 products as this build computes them
};

/// The library's table of functions. All but the fields throw device_error.
struct device_module {
  const char* seam;  ///< `seam_fingerprint` as the library was built with
  int (*count)();
  device& (*at)(int index);  ///< REQUIRES: index < count()
  device_facts (*facts)(int index);
  device_rates (*rates)(int index);
  std::string (*arithmetic)(int index);  ///< what decides how it rounds: see arithmetic.hpp
  std::string (*attention)(int index);   ///< by what it computes attention in bfloat16, or why not by cuDNN
  /// Channels to GPUs of other processes; device_error also where there is no library for them.
  std::shared_ptr<channel_maker> (*channels)(int index);
  std::size_t stream_bytes;  ///< what a stream takes for itself when it first multiplies matrices
};

using device_module_entry = const device_module* (*)();

/// Of the headers that both sides of the seam are compiled from.
const char* seam_fingerprint() noexcept;

/// The CUDA devices' library. Throws device_error, which names the file and what to do, where it is missing, cannot be
/// opened, or was built from other sources.
const device_module& cuda_module();

/// Whether a name is that of CUDA devices: "cuda", "cuda:1", "cuda:0,2".
bool is_cuda(std::string_view name);

/// Their indices; of "cuda" those of all devices of this machine. REQUIRES: is_cuda(name). Throws device_error where this
/// machine has no such device.
std::vector<int> find_cuda(std::string_view name);

}  // namespace troupe
