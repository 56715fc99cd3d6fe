#include "devices_under_test.hpp"

namespace troupe::tests {

std::vector<device*> devices_under_test() { return {&cpu_device(), &reference_device()}; }

}  // namespace troupe::tests
