#include "gpu/nvml.hpp"

#include <doctest/doctest.h>

using troupe::gpu::nvml;

TEST_CASE("the management library is read, and may be missing") {
  CHECK(nvml::open("libnowhere.so") == nullptr);
  CHECK(nvml::open(NO_MODULE) == nullptr);  // a library that lacks the functions
  const auto found = nvml::open(EMULATED_NVML);
  REQUIRE(found != nullptr);
  const auto reading = found->read("00000000:3B:00.0");
  CHECK(reading.driver == "580.65.06");
  CHECK(reading.utilization == 0.37);
  CHECK(reading.power_watts == 412.5);
  CHECK(!reading.energy_joules);  // this device does not tell
  const auto unknown = found->read("00000000:FF:00.0");
  CHECK(unknown.driver == "580.65.06");
  CHECK(!unknown.utilization);
}
