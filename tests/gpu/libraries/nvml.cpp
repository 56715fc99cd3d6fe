/// A management library with one device, which does not tell its energy.

#include <cstdio>
#include <string_view>

extern "C" {

int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }
int nvmlSystemGetDriverVersion(char* text, unsigned size) { return std::snprintf(text, size, "580.65.06") > 0 ? 0 : 1; }
int nvmlDeviceGetHandleByPciBusId_v2(const char* address, void** device) {
  static int only;
  *device = &only;
  return std::string_view(address) == "00000000:3B:00.0" ? 0 : 6;
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
int nvmlDeviceGetTotalEnergyConsumption(void*, unsigned long long*) { return 3; }
}
