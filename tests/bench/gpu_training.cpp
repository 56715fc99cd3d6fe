/// Times whole training steps on a GPU, in bfloat16, side by side: as a job of actors, as the same step in a bare loop,
/// and in PyTorch with torch.compile and its fused attention; then each kernel against its own floor.
///
///     build/bin/bench_gpu_training [CONFIGURATION...] [--device cuda:0] [--batch N] [--graphs] [--rounds N]
///                                  [--seconds S] [--peak TFLOPS] [--python PATH]
///
/// With --graphs, actors take part twice: also with runtime.cuda_graphs.
///
/// Columns: tokens a second; model FLOPs utilisation, the share of `peak` (by default 989 TFLOP/s, dense bfloat16 of an
/// H100 or H200) that the model's own FLOPs take, 6 for each multiplying parameter and token plus attention's. Of that
/// there are two conventions: `mfu` counts attention over the whole square of positions (Chowdhery et al. 2022,
/// arXiv:2204.02311, appendix B), `causal` the half of it that a causal model needs. Then the rate as a multiple of
/// PyTorch's and of the bare loop's.
///
/// Every measurement is a process of its own, and the contestants take turns for `rounds` rounds; printed are medians.
/// PyTorch takes part where PATH (by default the first python3 that can) imports it. Kernels are bench_kernels', of GPT-2.

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "runtime/tensor/device_module.hpp"
#include "tests/bench/median.hpp"
#include "tests/bench/steps/steps.hpp"

namespace troupe::bench {

namespace {

struct configuration {
  std::string name;
  bool is_llama;
  std::int64_t layers, heads, kv_heads, channels, hidden, vocabulary, batch;
};

constexpr std::int64_t context = 1024;

/// GPT-2's vocabulary is padded to a multiple of 64, as nanoGPT and llm.c have it. The Llamas have the shapes of
/// Llama 3.2. Batches leave room on 80 GB.
const std::vector<configuration> configurations{
    {"gpt2-124m", false, 12, 12, 12, 768, 3072, 50304, 32},   {"gpt2-350m", false, 24, 16, 16, 1024, 4096, 50304, 16},
    {"gpt2-774m", false, 36, 20, 20, 1280, 5120, 50304, 12},  {"gpt2-1.5b", false, 48, 25, 25, 1600, 6400, 50304, 8},
    {"llama-1b", true, 16, 32, 8, 2048, 8192, 128256, 8},     {"llama-3b", true, 28, 24, 8, 3072, 8192, 128256, 4},
};

struct options {
  std::vector<configuration> chosen;
  std::string device = "cuda";
  std::int64_t batch = 0;  ///< 0: each configuration's own
  bool graphs = false;
  int rounds = 3;
  double seconds = 10.0;
  double peak_flops = 989e12;
  std::string python = find_python();
};

step_program program_of(const configuration& of, const options& how) {
  auto settings = of.is_llama ? transformer_settings::llama() : transformer_settings::gpt2();
  settings.context = context;
  settings.layers = of.layers;
  settings.heads = of.heads;
  settings.kv_heads = of.kv_heads;
  settings.channels = of.channels;
  settings.feed_forward_channels = of.hidden;
  settings.vocabulary = of.vocabulary;
  settings.dropout = 0.0;
  settings.tied_head = true;
  return {.model = settings, .batch = how.batch > 0 ? how.batch : of.batch, .device = how.device,
          .precision = precision_kind::bfloat16, .cuda_graphs = how.graphs};
}

struct contestant {
  std::string name;
  std::string command;
  std::vector<double> seconds;  ///< by round; of the median step
};

/// Runs it once; says so and ends where it does not print seconds.
void measure(contestant& which) {
  const auto text = output_of(which.command);
  double seconds = 0.0;
  if (!(std::istringstream(text) >> seconds)) {
    fmt::print(stderr, "this failed: {}\n{}\n", which.command, text);
    std::exit(1);
  }
  which.seconds.push_back(seconds);
}

double median_ratio(const contestant& of, const contestant& to) {
  std::vector<double> ratios;
  for (std::size_t round = 0; round < of.seconds.size(); ++round)
    ratios.push_back(to.seconds[round] / of.seconds[round]);
  return median(std::move(ratios));
}

void compare(const std::string& self, const configuration& of, const options& how) {
  const auto program = program_of(of, how);
  std::vector<contestant> all;
  const auto add = [&](const char* name, const char* options) {
    all.push_back({name, fmt::format("{} {} {} --device {} --batch {} --seconds {}", self, options, of.name, how.device,
                                     program.batch, how.seconds),
                   {}});
  };
  add("bare loop", "--measure bare");
  add("actors", "--measure actors");
  if (how.graphs)
    add("as graphs", "--graphs --measure actors");
  if (!how.python.empty())
    all.push_back({"PyTorch", fmt::format("{} {}/tests/bench/pytorch_gpu_training.py {} {} {} {} {} {} {} {} {} {} {}",
                                          how.python, TROUPE_SOURCE_DIR, of.is_llama ? "llama" : "gpt2", of.layers,
                                          of.heads, of.kv_heads, of.channels, of.hidden, of.vocabulary, context,
                                          program.batch, how.seconds, find_cuda(how.device).front()),
                   {}});
  for (int round = 0; round < how.rounds; ++round)
    for (auto& each : all)
      measure(each);
  const auto tokens = static_cast<double>(program.batch * context);
  const auto whole = flops_per_token(program.model);
  const auto causal = whole - 6.0 * static_cast<double>(of.layers * of.channels * context);
  for (const auto& each : all) {
    const auto rate = tokens / median(each.seconds);
    const bool ours = each.name != "PyTorch";
    fmt::print("{:<10} {:>5}  {:<10} {:>10.0f} {:>6.1f}% {:>6.1f}% {:>11} {:>13}\n", of.name, program.batch, each.name,
               rate, 100.0 * rate * whole / how.peak_flops, 100.0 * rate * causal / how.peak_flops,
               ours && !how.python.empty() ? fmt::format("{:.2f}x", median_ratio(each, all.back())) : "",
               &each != &all.front() && ours ? fmt::format("{:.3f}x", median_ratio(each, all.front())) : "");
    std::fflush(stdout);
  }
}

int drive(const std::string& self, const options& how) {
  fmt::print("{:<10} {:>5}  {:<10} {:>10} {:>7} {:>7} {:>11} {:>13}\n", "model", "batch", "as", "tokens/s", "mfu",
             "causal", "to PyTorch", "to bare loop");
  for (const auto& each : how.chosen)
    compare(self, each, how);
  const auto kernels = std::filesystem::path(self).parent_path() / "bench_kernels";
  for (const auto& each : how.chosen)
    if (!each.is_llama)
      fmt::print("\n{}", output_of(fmt::format("{} {}-1024 --device {} --precision bfloat16", kernels.string(), each.name,
                                               how.device)));
  return 0;
}

const configuration* find(const std::string& name) {
  for (const auto& each : configurations)
    if (each.name == name)
      return &each;
  return nullptr;
}

int refuse(const std::string& word) {
  fmt::print(stderr, "error: '{}' is no option and no configuration; configurations are", word);
  for (const auto& each : configurations)
    fmt::print(stderr, " {}", each.name);
  fmt::print(stderr, "\n");
  return 2;
}

int run(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  options how;
  std::string as;  // "actors" or "bare": one measurement
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto* found = find(words[i]);
    if (found)
      how.chosen.push_back(*found);
    else if (words[i] == "--graphs")
      how.graphs = true;
    else if (i + 1 == words.size())
      return refuse(words[i]);
    else if (words[i] == "--measure")
      as = words[++i];
    else if (words[i] == "--device")
      how.device = words[++i];
    else if (words[i] == "--batch")
      how.batch = std::stoll(words[++i]);
    else if (words[i] == "--rounds")
      how.rounds = std::stoi(words[++i]);
    else if (words[i] == "--seconds")
      how.seconds = std::stod(words[++i]);
    else if (words[i] == "--peak")
      how.peak_flops = 1e12 * std::stod(words[++i]);
    else if (words[i] == "--python")
      how.python = words[++i];
    else
      return refuse(words[i]);
  }
  try {
    find_device(how.device);
  } catch (const std::exception& fault) {
    fmt::print(stderr, "this benchmark needs a GPU: {}\n", fault.what());
    return 1;
  }
  if (!as.empty()) {
    const auto program = program_of(how.chosen.at(0), how);
    fmt::print("{}\n", as == "actors" ? time_actors(program, how.seconds) : time_bare_loop(program, how.seconds));
    return 0;
  }
  if (how.python.empty())
    fmt::print(stderr, "note: no python3 here imports torch; PyTorch does not take part\n");
  if (how.chosen.empty())
    how.chosen = configurations;
  return drive(argv[0], how);
}

}  // namespace

}  // namespace troupe::bench

int main(int argc, char** argv) { return troupe::bench::run(argc, argv); }
