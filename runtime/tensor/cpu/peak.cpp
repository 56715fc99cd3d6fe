#include "runtime/tensor/cpu/peak.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "runtime/tensor/cpu/simd.hpp"

namespace troupe {

namespace {

// Independent chains hide the latency of an addition; as many as there are registers for.
#if defined(__AVX512F__)
constexpr int chains = 24;
#elif defined(__AVX2__)
constexpr int chains = 6;
#else
constexpr int chains = 3;
#endif
constexpr int turns = 20000;

/// A function of its own, so that the compiler has all registers for the chains.
[[gnu::noinline]] float multiply_and_add(float start) {
  cpu::floats sums[chains];
  for (int i = 0; i < chains; ++i)
    sums[i] = cpu::broadcast(start + static_cast<float>(i));
  const cpu::floats factor = cpu::broadcast(0.999f), term = cpu::broadcast(0.001f);
  for (int turn = 0; turn < turns; ++turn) {
#pragma GCC unroll 32
    for (int i = 0; i < chains; ++i)
      sums[i] = sums[i] * factor + term;
  }
  for (int i = 1; i < chains; ++i)
    sums[0] += sums[i];
  return cpu::sum_of(sums[0]);
}

/// FLOP/s that one thread sustains: of the median run, since for microseconds at a time a core's clock rises by a tenth
/// above what it keeps up.
double measure_thread() {
  using clock = std::chrono::steady_clock;
  constexpr std::size_t runs_min = 8;
  constexpr auto length = std::chrono::milliseconds(100);
  volatile float used = 0.0f;  // or the compiler would drop what nobody reads
  std::vector<double> seconds;
  const auto start = clock::now();
  while (seconds.size() < runs_min || clock::now() - start < length) {
    const auto before = clock::now();
    used = multiply_and_add(used);
    seconds.push_back(std::chrono::duration<double>(clock::now() - before).count());
  }
  const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), middle, seconds.end());
  return 2.0 * cpu::lanes * chains * turns / *middle;
}

}  // namespace

double measure_fma_peak(int threads) {
  std::vector<double> each(static_cast<std::size_t>(std::max(threads, 1)));
  std::vector<std::thread> others;
  for (std::size_t i = 1; i < each.size(); ++i)
    others.emplace_back([&each, i] { each[i] = measure_thread(); });
  each[0] = measure_thread();
  for (auto& other : others)
    other.join();
  return std::accumulate(each.begin(), each.end(), 0.0);
}

}  // namespace troupe
