#include "runtime/tensor/device.hpp"

#include <stdexcept>

namespace troupe {

device& find_device(const std::string& name) {
  for (device* known : {&cpu_device(), &reference_device()})
    if (known->name() == name)
      return *known;
  throw std::invalid_argument("unknown device '" + name + "', expected cpu or reference");
}

}  // namespace troupe
