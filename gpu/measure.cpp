#include "gpu/measure.hpp"

#include <algorithm>
#include <array>
#include <chrono>

#include <cublasLt.h>
#include <fmt/format.h>

#include "gpu/error.hpp"
#include "gpu/fused_attention.hpp"
#include "gpu/nvml.hpp"

namespace troupe::gpu {

namespace {

/// Seconds of one call of `work`, the best of several; `work` enqueues on `on`.
template <class Work>
double best_seconds(stream& on, Work work) {
  using clock = std::chrono::steady_clock;
  constexpr int runs = 5;
  work();  // the first call looks for algorithms and memory
  on.synchronize();
  double best = 1e9;
  for (int run = 0; run < runs; ++run) {
    const auto before = clock::now();
    work();
    on.synchronize();
    best = std::min(best, std::chrono::duration<double>(clock::now() - before).count());
  }
  return best;
}

/// side * side numbers that differ: products of zeros take less power, and so less time, than those of a model.
tensor random_matrix(stream& on, std::int64_t side, std::int64_t side_min) {
  const auto first = side_min * side_min;
  const tensor host = make_host_tensor(dtype::float32, {first});
  for (std::int64_t i = 0; i < first; ++i)
    host.mutable_data<float>()[i] = uniform(random_word({1, 2}, static_cast<std::uint64_t>(i))) - 0.5f;
  const tensor all = on.allocate({side, side});
  on.copy(on.to_device(host), all.slice(0, {first}));
  for (auto filled = first; filled < all.count(); filled *= 2)
    on.copy(all.slice(0, {filled}), all.slice(filled, {filled}));
  return all;
}

void measure_copies(stream& on, std::int64_t bytes, device_rates& rates) {
  const tensor from = on.allocate(dtype::uint8, {bytes}), to = on.allocate(dtype::uint8, {bytes});
  on.zero(from);
  rates.copy_bytes_per_second = 2.0 * static_cast<double>(bytes) / best_seconds(on, [&] { on.copy(from, to); });
  const tensor part = from.slice(0, {std::min<std::int64_t>(bytes, 64 << 20)}), host = on.to_host(part);
  const auto part_bytes = static_cast<double>(part.size_bytes());
  rates.to_host_bytes_per_second = part_bytes / best_seconds(on, [&] { on.to_host(part); });
  rates.to_device_bytes_per_second = part_bytes / best_seconds(on, [&] { on.to_device(host); });
}

/// FLOP/s of products of doubling size, until one takes long enough to be measured.
double measure_products(stream& on) {
  constexpr std::int64_t side_min = 256, side_max = 8192;
  constexpr double long_enough = 5e-3;
  double rate = 0.0, seconds = 0.0;
  for (auto side = side_min; side <= side_max && seconds < long_enough; side *= 2) {
    const tensor a = random_matrix(on, side, side_min), c = on.allocate({side, side});
    seconds = best_seconds(on, [&] { on.matmul(a, a, c); });
    const auto extent = static_cast<double>(side);
    rate = 2.0 * extent * extent * extent / seconds;
  }
  return rate;
}

cudaDeviceProp properties_of(const cuda_device& device) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device.index()), device.index(), "asking for its properties");
  return properties;
}

std::string architecture_of(const cudaDeviceProp& properties) {
  return fmt::format("sm_{}{}", properties.major, properties.minor);
}

}  // namespace

std::string arithmetic_of(cuda_device& device) {
  const auto properties = properties_of(device);
  const auto products = cublasLtGetVersion();
  std::string attention = "no cuDNN";
  try {
    attention = fused_attention::library_of(device);
  } catch (const cudnn_refusal&) {
    // `attention_of` says why
  }
  return fmt::format("{} {}, cuBLASLt {}.{}.{}, {}", properties.name, architecture_of(properties), products / 10'000,
                     products / 100 % 100, products % 100, attention);
}

std::string attention_of(cuda_device& device) {
  try {
    return fused_attention::library_of(device) + ", where it has kernels for it";
  } catch (const cudnn_refusal& why) {
    return std::string("own kernels: ") + why.what();
  }
}

device_facts facts_of(cuda_device& device) {
  const int index = device.index();
  const auto properties = properties_of(device);
  device.activate();
  device_facts facts;
  facts.name = properties.name;
  facts.architecture = architecture_of(properties);
  facts.processors = properties.multiProcessorCount;
  check(cudaMemGetInfo(&facts.free_bytes, &facts.memory_bytes), index, "asking for its memory");
  int driver = 0, toolkit = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&toolkit);
  const auto version = [](int number) { return fmt::format("CUDA {}.{}", number / 1000, number % 1000 / 10); };
  facts.driver = version(driver);
  facts.toolkit = version(toolkit);
  std::array<char, 32> bus{};
  static const auto management = nvml::open();
  if (management && cudaDeviceGetPCIBusId(bus.data(), bus.size(), index) == cudaSuccess) {
    const auto reading = management->read(bus.data());
    if (!reading.driver.empty())
      facts.driver = reading.driver + " (" + facts.driver + ")";
    facts.utilization = reading.utilization;
    facts.power_watts = reading.power_watts;
    facts.energy_joules = reading.energy_joules;
  }
  return facts;
}

device_rates measure(cuda_device& device) {
  device.activate();
  std::size_t free_bytes = 0, all_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &all_bytes), device.index(), "asking for its memory");
  device_rates rates;
  {
    const auto on = device.make_stream({});
    measure_copies(*on, static_cast<std::int64_t>(std::min<std::size_t>(256 << 20, free_bytes / 8)), rates);
    rates.matrix_flops = measure_products(*on);
  }
  device.trim();  // nobody asks for such sizes again
  return rates;
}

}  // namespace troupe::gpu
