#include "runtime/tensor/arithmetic.hpp"

#include <map>

#include <fmt/format.h>

#include "runtime/tensor/cpu/arithmetic.hpp"
#include "runtime/tensor/device_module.hpp"

namespace troupe {

std::string arithmetic_of(const std::string& device, bool alike) {
  if (!is_cuda(device))
    return cpu_arithmetic();
  std::map<std::string, std::string> kinds;  // with the first device of each
  for (const int index : find_cuda(device))
    kinds.try_emplace(cuda_module().arithmetic(index), fmt::format("cuda:{}", index));
  std::string all, where;
  for (const auto& [kind, first] : kinds) {
    all += (all.empty() ? "" : "; ") + kind;
    where += fmt::format("{}{} computes with {}", where.empty() ? "" : ", but ", first, kind);
  }
  if (alike && kinds.size() > 1)
    throw device_error(fmt::format("{}: the result would depend on who computes what\nhelp: choose GPUs of one kind, such as "
                                   "runtime.device=\"{}\"; or give up that runs repeat exactly with "
                                   "cluster.mixed_arithmetic=true",
                                   where, kinds.begin()->second));
  return all;
}

}  // namespace troupe
