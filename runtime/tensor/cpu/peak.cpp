#include "runtime/tensor/cpu/peak.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "runtime/tensor/cpu/simd.hpp"

namespace troupe {

namespace {

/// FLOP/s of one thread. Independent chains hide the latency of an addition; as many as AVX2 has registers for.
double measure_thread() {
  using clock = std::chrono::steady_clock;
#if defined(__AVX512F__)
  constexpr int chains = 24;
#elif defined(__AVX2__)
  constexpr int chains = 6;
#else
  constexpr int chains = 3;
#endif
  constexpr int turns = 20000, runs_min = 8;
  constexpr auto length = std::chrono::milliseconds(50);
  cpu::floats sums[chains];
  for (int i = 0; i < chains; ++i)
    sums[i] = cpu::broadcast(static_cast<float>(i));
  const cpu::floats factor = cpu::broadcast(0.999f), term = cpu::broadcast(0.001f);
  double best = 0.0;
  const auto start = clock::now();
  for (int run = 0; run < runs_min || clock::now() - start < length; ++run) {
    const auto before = clock::now();
    for (int turn = 0; turn < turns; ++turn) {
#pragma GCC unroll 32
      for (int i = 0; i < chains; ++i)
        sums[i] = sums[i] * factor + term;
    }
    const std::chrono::duration<double> took = clock::now() - before;
    best = std::max(best, 2.0 * cpu::lanes * chains * turns / took.count());
  }
  for (int i = 1; i < chains; ++i)
    sums[0] += sums[i];
  volatile float used = cpu::sum_of(sums[0]);  // or the compiler would drop what nobody reads
  static_cast<void>(used);
  return best;
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
