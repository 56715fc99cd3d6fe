#include "runtime/tensor/device.hpp"

#include <algorithm>
#include <stdexcept>

#include "runtime/tensor/device_module.hpp"

namespace troupe {

std::vector<tensor> stream::all_to_host(std::span<const tensor> in) {
  std::vector<tensor> out;
  for (const auto& each : in)
    out.push_back(to_host(each));
  return out;
}

void stream::cast_all(std::span<const tensor> in, std::span<const tensor> out) {
  for (std::size_t i = 0; i < in.size(); ++i)
    cast(in[i], out[i]);
}

std::int64_t logits_rows(std::int64_t rows, std::int64_t vocabulary) noexcept {
  constexpr std::int64_t logits_max = (64 << 20) / static_cast<std::int64_t>(sizeof(float));
  const auto most = std::clamp<std::int64_t>(logits_max / vocabulary, 1, rows), chunks = (rows + most - 1) / most;
  return (rows + chunks - 1) / chunks;
}

device& find_device(const std::string& name) {
  for (device* known : {&cpu_device(), &reference_device()})
    if (known->name() == name)
      return *known;
  if (const auto index = cuda_index(name))
    return find_cuda_device(*index);
  throw std::invalid_argument("unknown device '" + name + "', expected cpu, cuda, cuda:N or reference");
}

}  // namespace troupe
