/// Times whole training steps, side by side: as a job of actors, as the same step in a bare loop, and in PyTorch.
///
///     build/bin/bench_training [CONFIGURATION...] [--threads 1|2] [--rounds N] [--seconds S] [--python PATH]
///
///     configuration    threads  as                   tokens/s  of peak  to PyTorch  to bare loop  memory  predicted
///     shakespeare-cpu        1  actors, 1 lane x 1      22332    53.1%       1.81x        0.982x  65 MiB     64 MiB
///
/// Every measurement is a process of its own, pinned to as many cores as it has threads, and the contestants take
/// turns for `rounds` rounds, so that a noisy machine is noisy for all of them. Printed: medians over the rounds; ratios
/// are medians of each round's ratio. With two threads, actors run as two lanes of one thread and as one lane of two; two
/// lanes also add up two gradients, which the bare loop with its one has not to do.
/// PyTorch takes part where PATH (by default the first python3 that can) imports it.

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "actors/job_memory.hpp"
#include "actors/job_root.hpp"
#include "actors/lane_pass.hpp"
#include "actors/process_memory.hpp"
#include "actors/shard_memory.hpp"
#include "models/transformer.hpp"
#include "runtime/tensor/cpu/peak.hpp"

namespace troupe {

namespace {

using clock = std::chrono::steady_clock;

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

job_inputs inputs_of(const configuration& of) {
  std::vector<std::int32_t> tokens(200'000);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<std::int32_t>(i * i * 2654435761u % static_cast<std::uint64_t>(of.vocabulary));
  job_inputs inputs;
  inputs.model = std::make_shared<const model>(make_transformer(model_settings(of)));
  inputs.data = make_token_dataset(std::move(tokens), of.vocabulary);
  inputs.context = of.context;
  return inputs;
}

job_settings settings_of(const configuration& of, std::uint32_t lanes, int threads) {
  job_settings settings;
  settings.training.steps = 1'000'000;
  settings.training.lanes = lanes;
  settings.training.batch = of.batch;
  settings.optimizer.weight_decay = 0.1;
  settings.runtime.shards = lanes;
  settings.runtime.threads = threads;
  settings.evaluation.batches = 0;
  return settings;
}

/// Seconds of the median step: robust against a neighbour that comes and goes.
double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

constexpr std::size_t warmup_steps = 3;

double median_step(std::vector<double> seconds) {
  seconds.erase(seconds.begin(), seconds.begin() + std::min(seconds.size() - 1, warmup_steps));
  return median(std::move(seconds));
}

double time_actors(const configuration& of, std::uint32_t lanes, int threads, double budget) {
  std::vector<double> seconds;
  stop_request stop;
  const auto begin = clock::now();
  job_observer observer;
  observer.on_step = [&](const step_report& report) {
    seconds.push_back(report.seconds);
    const std::chrono::duration<double> spent = clock::now() - begin;
    stop.stop = spent.count() > budget && seconds.size() > warmup_steps + 2;
  };
  run_job(inputs_of(of), settings_of(of, lanes, threads), observer, &stop);
  return median_step(std::move(seconds));
}

/// The same mathematics without an actor or a message.
double time_bare_loop(const configuration& of, int threads, double budget) {
  const auto context = make_job_context(inputs_of(of), settings_of(of, 1, threads));
  const auto& space = context->model().parameters();
  shard_memory shard(context, 0);
  shard.initialize();
  lane_pass work(context, 0);
  std::vector<double> seconds;
  const auto begin = clock::now();
  auto step_begin = begin;
  for (std::uint64_t step = 0;; ++step) {
    work.begin(step, read_lane(*context, 0, step).micro_batches);
    {
      std::vector<tensor> values(shard.values().begin(), shard.values().end());
      work.supply(0, values);
    }
    while (!work.advance().finished) {
    }
    std::vector<std::vector<tensor>> gradients(1);
    for (std::size_t i = 0; i < space.size(); ++i)
      gradients[0].push_back(work.take_gradient(i));
    work.release();
    const auto squares = shard.sum_lanes(gradients, true);
    double sum = 0.0;
    for (const auto square : squares)
      sum += square;
    const auto mean = 1.0 / static_cast<double>(work.targets());
    shard.update(gradients[0], {1e-3, mean * std::min(1.0, 1.0 / (std::sqrt(sum) * mean + 1e-6)),
                                static_cast<std::int64_t>(step) + 1});
    const auto now = clock::now();
    seconds.push_back(std::chrono::duration<double>(now - step_begin).count());
    step_begin = now;
    if (std::chrono::duration<double>(now - begin).count() > budget && seconds.size() > warmup_steps + 2)
      return median_step(std::move(seconds));
  }
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

std::string output_of(const std::string& command) {
  std::string text;
  std::array<char, 4096> part;
  auto* pipe = popen(command.c_str(), "r");
  if (!pipe)
    return text;
  while (const auto size = std::fread(part.data(), 1, part.size(), pipe))
    text.append(part.data(), size);
  pclose(pipe);
  return text;
}

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
  int cores = 1;
  std::string command;
  std::vector<measurement> rounds;
};

std::string find_python() {
  for (const char* candidate : {"python3", "/usr/bin/python3"})
    if (std::system(fmt::format("{} -c 'import torch' >/dev/null 2>&1", candidate).c_str()) == 0)
      return candidate;
  return {};
}

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
      const auto ours = [&](const std::string& how, std::uint32_t lanes, int threads) {
        return fmt::format("{} --measure {} {} {} {} {} {}", self, how, of.name, lanes, threads, cores, budget);
      };
      all.push_back({"bare loop", cores, ours("bare", 1, cores), {}});
      all.push_back({fmt::format("actors, 1 lane x {}", cores), cores, ours("actors", 1, cores), {}});
      if (cores == 2)
        all.push_back({"actors, 2 lanes x 1", cores, ours("actors", 2, 1), {}});
      if (!python.empty())
        all.push_back({"PyTorch", cores,
                       fmt::format("{}OMP_NUM_THREADS={} OPENBLAS_NUM_THREADS={} taskset -c {} {} {}/tests/bench/"
                                   "pytorch_training.py {} {} {} {} {} {} {} {}",
                                   pytorch_environment(), cores, cores, cores == 1 ? "0" : "0,1", python,
                                   TROUPE_SOURCE_DIR, of.layers, of.heads, of.channels, of.context, of.batch,
                                   of.vocabulary, of.bias ? 1 : 0, budget),
                       {}});
      for (int round = 0; round < rounds; ++round)
        for (auto& each : all)
          each.rounds.push_back(parse(output_of(each.command), each.command));

      const auto tokens = static_cast<double>(of.batch * of.context);
      const auto flops = flops_per_token(model_settings(of)) * tokens;
      const auto over_rounds = [&](const std::function<double(std::size_t)>& value) {
        std::vector<double> values;
        for (std::size_t round = 0; round < static_cast<std::size_t>(rounds); ++round)
          values.push_back(value(round));
        return median(std::move(values));
      };
      for (const auto& each : all) {
        const auto ratio_to = [&](const contestant& other) {
          return over_rounds([&](std::size_t r) { return other.rounds[r].seconds / each.rounds[r].seconds; });
        };
        const bool ours_too = each.name != "PyTorch";
        const auto seconds = over_rounds([&](std::size_t r) { return each.rounds[r].seconds; });
        // Of the peak measured in the same process, a moment before.
        const auto share = over_rounds([&](std::size_t r) {
          const auto& source = ours_too ? each : all.front();
          return flops / each.rounds[r].seconds / source.rounds[r].peak_flops;
        });
        std::string predicted;
        if (each.name.starts_with("actors")) {
          const auto lanes = each.name.starts_with("actors, 2") ? 2u : 1u;
          const auto settings = settings_of(of, lanes, cores / static_cast<int>(lanes));
          const auto bytes = predict_memory(*inputs_of(of).model, settings, of.context).total_bytes() +
                             measure_process_bytes(model_settings(of), settings);
          predicted = fmt::format("{:.0f} MiB", static_cast<double>(bytes) / 0x1p20);
        }
        fmt::print("{:<16} {:>7}  {:<24} {:>9.0f} {:>7.1f}% {:>11} {:>12} {:>7.0f} MiB {:>11}\n", of.name, cores,
                   each.name, tokens / seconds, 100.0 * share,
                   python.empty() || !ours_too ? "" : fmt::format("{:.2f}x", ratio_to(all.back())),
                   each.name.starts_with("actors") ? fmt::format("{:.3f}x", ratio_to(all.front())) : "",
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
    const auto seconds = words[1] == "actors" ? time_actors(of, static_cast<std::uint32_t>(std::stoul(words[3])),
                                                            std::stoi(words[4]), budget)
                                              : time_bare_loop(of, std::stoi(words[4]), budget);
    fmt::print("{} {} {}\n", seconds, peak_memory_bytes(), peak);
    return 0;
  }
  std::vector<configuration> chosen;
  std::vector<int> thread_counts = {1, 2};
  int rounds = 3;
  double budget = 5.0;
  std::string python = find_python();
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
