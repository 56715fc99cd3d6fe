#include "tests/runtime/tensor/devices_under_test.hpp"

namespace troupe::tests {

std::vector<device*> devices_under_test() { return {&find_device("cuda")}; }

}  // namespace troupe::tests
