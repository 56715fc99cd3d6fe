/// Times whole training steps, side by side: as a job of actors, as the same step in a bare loop, and in PyTorch.
///
///     build/bin/bench_training [CONFIGURATION...] [--threads 1|2] [--rounds N] [--seconds S] [--python PATH]
///
///     configuration    threads  as                   tokens/s  of peak  to PyTorch  to bare loop  memory  predicted
///     shakespeare-cpu        1  actors, 1 lane x 1      22332    53.1%       1.81x        0.982x  65 MiB     64 MiB
///
/// Every measurement is a process of its own, pinned to as many cores as it has threads, and the contestants take
/// turns for `rounds` rounds, so that a noisy machine is noisy for all of them. Printed: medians over the rounds; ratios
/// are medians of each round's ratio. With two threads, actors and the bare loop run as one lane of two and as two lanes of
/// one, which also add up two gradients.
/// PyTorch takes part where PATH (by default the first python3 that can) imports it.

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "actors/job_memory.hpp"
#include "actors/process_memory.hpp"
#include "runtime/tensor/cpu/peak.hpp"
#include "tests/bench/median.hpp"
#include "tests/bench/steps/steps.hpp"

namespace troupe {

namespace {

struct configuration {
  std::string name;
  std::int64_t layers, heads, channels, context, batch, vocabulary;
  bool bias;
};

const std::vector<configuration> configurations{
    {"shakespeare-cpu", 4, 4, 128, 64, 12, 65, false},
    {"shakespeare-gpu", 6, 6, 384, 256, 12, 65, false},
    {"gpt2-124m-64", 12, 12, 768, 64, 4, 50257, true},
    {"gpt2-124m-256", 12, 12, 768, 256, 4, 50257, true},
};

transformer_settings model_settings(const configuration& of) {
  auto settings = transformer_settings::gpt2();
  settings.layers = of.layers;
  settings.heads = of.heads;
  settings.channels = of.channels;
  settings.context = of.context;
  settings.vocabulary = of.vocabulary;
  settings.bias = of.bias;
  settings.dropout = 0.0;
  return settings;
}

bench::step_program program_of(const configuration& of, std::uint32_t lanes, int threads) {
  return {model_settings(of), of.batch, lanes, threads};
}

void pin(int cores) {
  cpu_set_t allowed;
  sched_getaffinity(0, sizeof allowed, &allowed);
  cpu_set_t chosen;
  CPU_ZERO(&chosen);
  for (int core = 0; core < CPU_SETSIZE && CPU_COUNT(&chosen) < cores; ++core)
    if (CPU_ISSET(core, &allowed))
      CPU_SET(core, &chosen);
  sched_setaffinity(0, sizeof chosen, &chosen);
}

double peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024.0;
}

// -- the driver --------------------------------------------------------------------------

struct measurement {
  double seconds = 0.0;  ///< of the median step
  double peak_flops = 0.0;
  double memory_bytes = 0.0;
};

measurement parse(const std::string& text, const std::string& command) {
  measurement found;
  std::istringstream in(text);
  if (!(in >> found.seconds >> found.memory_bytes >> found.peak_flops)) {
    fmt::print(stderr, "this failed: {}\n{}\n", command, text);
    std::exit(1);
  }
  return found;
}

struct contestant {
  std::string name;
  int lanes = 1;
  std::string command;
  std::vector<measurement> rounds;
};

/// The BLAS of Debian's PyTorch misdetects some current processors unless told.
std::string pytorch_environment() {
  std::ifstream cpu("/proc/cpuinfo");
  std::string line;
  while (std::getline(cpu, line))
    if (line.starts_with("flags"))
      return line.find("avx512f") != std::string::npos ? "OPENBLAS_CORETYPE=SKYLAKEX ATEN_CPU_CAPABILITY=avx512 " : "";
  return "";
}

int drive(const std::string& self, const std::vector<configuration>& chosen, const std::vector<int>& thread_counts,
          int rounds, double budget, const std::string& python) {
  fmt::print("{:<16} {:>7}  {:<24} {:>9} {:>8} {:>11} {:>12} {:>11} {:>11}\n", "configuration", "threads", "as",
             "tokens/s", "of peak", "to PyTorch", "to bare loop", "memory", "predicted");
  for (const auto& of : chosen) {
    for (const int cores : thread_counts) {
      std::vector<contestant> all;
      const auto ours = [&](const std::string& how, int lanes, int threads) {
        return fmt::format("{} --measure {} {} {} {} {} {}", self, how, of.name, lanes, threads, cores, budget);
      };
      for (int lanes = 1; lanes <= cores; ++lanes) {
        const int threads = cores / lanes;
        const auto laid_out = fmt::format("{} lane{} x {}", lanes, lanes == 1 ? "" : "s", threads);
        all.push_back({"bare loop, " + laid_out, lanes, ours("bare", lanes, threads), {}});
        all.push_back({"actors, " + laid_out, lanes, ours("actors", lanes, threads), {}});
      }
      if (!python.empty())
        all.push_back({"PyTorch", 1,
                       fmt::format("{}OMP_NUM_THREADS={} OPENBLAS_NUM_THREADS={} taskset -c {} {} {}/tests/bench/"
                                   "pytorch_training.py {} {} {} {} {} {} {} {}",
                                   pytorch_environment(), cores, cores, cores == 1 ? "0" : "0,1", python,
                                   TROUPE_SOURCE_DIR, of.layers, of.heads, of.channels, of.context, of.batch,
                                   of.vocabulary, of.bias ? 1 : 0, budget),
                       {}});
      for (int round = 0; round < rounds; ++round)
        for (auto& each : all)
          each.rounds.push_back(parse(bench::output_of(each.command), each.command));

      const auto tokens = static_cast<double>(of.batch * of.context);
      const auto flops = flops_per_token(model_settings(of)) * tokens;
      const auto over_rounds = [&](const std::function<double(std::size_t)>& value) {
        std::vector<double> values;
        for (std::size_t round = 0; round < static_cast<std::size_t>(rounds); ++round)
          values.push_back(value(round));
        return bench::median(std::move(values));
      };
      for (std::size_t i = 0; i < all.size(); ++i) {
        const auto& each = all[i];
        const auto ratio_to = [&](const contestant& other) {
          return over_rounds([&](std::size_t r) { return other.rounds[r].seconds / each.rounds[r].seconds; });
        };
        const bool ours_too = each.name != "PyTorch", of_actors = each.name.starts_with("actors");
        const auto seconds = over_rounds([&](std::size_t r) { return each.rounds[r].seconds; });
        // Of the peak measured in the same process, a moment before.
        const auto share = over_rounds([&](std::size_t r) {
          const auto& source = ours_too ? each : all.front();
          return flops / each.rounds[r].seconds / source.rounds[r].peak_flops;
        });
        std::string predicted;
        if (of_actors) {
          const auto program = program_of(of, static_cast<std::uint32_t>(each.lanes), cores / each.lanes);
          const auto settings = bench::settings_of(program);
          const auto bytes = predict_memory(*bench::inputs_of(program).model, settings, of.context).total_bytes() +
                             measure_process_bytes(program.model, settings);
          predicted = fmt::format("{:.0f} MiB", static_cast<double>(bytes) / 0x1p20);
        }
        fmt::print("{:<16} {:>7}  {:<24} {:>9.0f} {:>7.1f}% {:>11} {:>12} {:>7.0f} MiB {:>11}\n", of.name, cores,
                   each.name, tokens / seconds, 100.0 * share,
                   python.empty() || !ours_too ? "" : fmt::format("{:.2f}x", ratio_to(all.back())),
                   of_actors ? fmt::format("{:.3f}x", ratio_to(all[i - 1])) : "",
                   over_rounds([&](std::size_t r) { return each.rounds[r].memory_bytes; }) / 0x1p20, predicted);
        std::fflush(stdout);
      }
    }
  }
  return 0;
}

const configuration* find(const std::string& name) {
  for (const auto& each : configurations)
    if (each.name == name)
      return &each;
  return nullptr;
}

int run(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() == 7 && words[0] == "--measure") {
    pin(std::stoi(words[5]));
    const auto& of = *find(words[2]);
    const auto peak = measure_fma_peak(std::stoi(words[5]));
    const auto budget = std::stod(words[6]);
    const auto program = program_of(of, static_cast<std::uint32_t>(std::stoul(words[3])), std::stoi(words[4]));
    const auto seconds = words[1] == "actors" ? bench::time_actors(program, budget) : bench::time_bare_loop(program, budget);
    fmt::print("{} {} {}\n", seconds, peak_memory_bytes(), peak);
    return 0;
  }
  std::vector<configuration> chosen;
  std::vector<int> thread_counts = {1, 2};
  int rounds = 3;
  double budget = 5.0;
  std::string python = bench::find_python();
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--rounds" && i + 1 < words.size())
      rounds = std::stoi(words[++i]);
    else if (words[i] == "--seconds" && i + 1 < words.size())
      budget = std::stod(words[++i]);
    else if (words[i] == "--threads" && i + 1 < words.size() && (words[i + 1] == "1" || words[i + 1] == "2"))
      thread_counts = {std::stoi(words[++i])};
    else if (words[i] == "--python" && i + 1 < words.size())
      python = words[++i];
    else if (const auto* found = find(words[i]))
      chosen.push_back(*found);
    else {
      fmt::print(stderr, "error: '{}' is no option and no configuration; configurations are", words[i]);
      for (const auto& each : configurations)
        fmt::print(stderr, " {}", each.name);
      fmt::print(stderr, "\n");
      return 2;
    }
  }
  if (python.empty())
    fmt::print(stderr, "note: no python3 here imports torch; PyTorch does not take part\n");
  return drive(argv[0], chosen.empty() ? configurations : chosen, thread_counts, rounds, budget, python);
}

}  // namespace

}  // namespace troupe

int main(int argc, char** argv) { return troupe::run(argc, argv); }
