#pragma once

#include <memory>
#include <optional>
#include <string>

namespace troupe::gpu {

/// What the driver's management library tells of one device; what it does not know is absent.
struct nvml_reading {
  std::string driver;
  std::optional<double> utilization;    ///< share of the last sampling period in which a kernel ran
  std::optional<double> power_watts;
  std::optional<double> energy_joules;  ///< since the driver was loaded
};

/// NVIDIA's management library, opened at run time: it comes with the driver, not with the toolkit. Thread safe.
class nvml {
 public:
  /// Null where the library is not there or does not start.
  static std::shared_ptr<const nvml> open(const std::string& library = "libnvidia-ml.so.1");
  ~nvml();
  nvml(const nvml&) = delete;
  nvml& operator=(const nvml&) = delete;

  /// By address on the bus, such as "00000000:3B:00.0", since NVML counts devices in another order than CUDA.
  nvml_reading read(const std::string& bus_address) const;

 private:
  struct functions;
  explicit nvml(std::unique_ptr<functions> from);

  std::unique_ptr<functions> call_;
};

}  // namespace troupe::gpu
