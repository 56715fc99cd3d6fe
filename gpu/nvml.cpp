#include "gpu/nvml.hpp"

#include <array>

#include "gpu/run_time_library.hpp"

namespace troupe::gpu {

// Declared here, after NVML's reference, because nvml.h is not part of every toolkit. All return 0 for success.
struct nvml::functions {
  struct utilization_rates {
    unsigned gpu, memory;  // per cent
  };

  int (*init)() = nullptr;
  int (*shut_down)() = nullptr;
  int (*driver_version)(char* text, unsigned size) = nullptr;
  int (*handle_by_bus)(const char* address, void** device) = nullptr;
  int (*utilization)(void* device, utilization_rates* rates) = nullptr;
  int (*power)(void* device, unsigned* milliwatts) = nullptr;
  int (*energy)(void* device, unsigned long long* millijoules) = nullptr;

  bool find(const run_time_library& library) {
    const auto load = [&](auto& function, const char* name) { return library.find(function, name); };
    return load(init, "nvmlInit_v2") && load(shut_down, "nvmlShutdown") &&
           load(driver_version, "nvmlSystemGetDriverVersion") &&
           load(handle_by_bus, "nvmlDeviceGetHandleByPciBusId_v2") &&
           load(utilization, "nvmlDeviceGetUtilizationRates") && load(power, "nvmlDeviceGetPowerUsage") &&
           load(energy, "nvmlDeviceGetTotalEnergyConsumption");
  }
};

std::shared_ptr<const nvml> nvml::open(const std::string& library) {
  const run_time_library opened(library);
  auto found = std::make_unique<functions>();
  if (!opened || !found->find(opened) || found->init() != 0)
    return nullptr;
  return std::shared_ptr<const nvml>(new nvml(std::move(found)));
}

nvml::nvml(std::unique_ptr<functions> from) : call_(std::move(from)) {
  // nop
}

nvml::~nvml() { call_->shut_down(); }

nvml_reading nvml::read(const std::string& bus_address) const {
  nvml_reading result;
  std::array<char, 96> version{};
  if (call_->driver_version(version.data(), version.size() - 1) == 0)
    result.driver = version.data();
  void* device = nullptr;
  if (call_->handle_by_bus(bus_address.c_str(), &device) != 0)
    return result;
  functions::utilization_rates rates{};
  if (call_->utilization(device, &rates) == 0)
    result.utilization = rates.gpu / 100.0;
  if (unsigned milliwatts = 0; call_->power(device, &milliwatts) == 0)
    result.power_watts = milliwatts / 1e3;
  if (unsigned long long millijoules = 0; call_->energy(device, &millijoules) == 0)
    result.energy_joules = static_cast<double>(millijoules) / 1e3;
  return result;
}

}  // namespace troupe::gpu
