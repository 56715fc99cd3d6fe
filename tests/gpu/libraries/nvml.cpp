/// A management library with two devices: the emulated GPU, and one that does not tell its energy.

#include <cstdio>
#include <cstring>

extern "C" {

int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }
int nvmlSystemGetDriverVersion(char* text, unsigned size) { return std::snprintf(text, size, "580.65.06") > 0 ? 0 : 1; }
int nvmlDeviceGetHandleByPciBusId_v2(const char* address, void** device) {
  static const char* const known[]{"00000000:00:00.0", "00000000:3B:00.0"};
  for (const auto& each : known)
    if (std::strcmp(address, each) == 0) {
      *device = const_cast<char*>(each);
      return 0;
    }
  return 6;
}
int nvmlDeviceGetUtilizationRates(void*, unsigned* rates) {
  rates[0] = 37;
  rates[1] = 12;
  return 0;
}
int nvmlDeviceGetPowerUsage(void*, unsigned* milliwatts) {
  *milliwatts = 412500;
  return 0;
}
int nvmlDeviceGetTotalEnergyConsumption(void* device, unsigned long long* millijoules) {
  static unsigned long long used = 0;
  *millijoules = used += 640'000;
  return std::strcmp(static_cast<const char*>(device), "00000000:00:00.0") == 0 ? 0 : 3;
}
}
