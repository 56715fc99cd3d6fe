/// How long a cut of GPT-2 124M holds training up, and how long it takes to write and to load.
///
///     build/bin/bench_checkpoint_pause [FOLDER ON THE DISK TO MEASURE] [STEPS] [LANES] [STEPS FROM CUT TO CUT]
///
/// Let a cut be on disk before the next is due, which else waits for it, and training with it: on a slow disk, give more
/// steps.
///
/// Training writes aside what the writer still holds, so a cut costs a handle where it is taken; the next update writes
/// to other memory. Both are in the figure printed: how much longer the steps after a cut took than the median step.
/// While the files are being written, their thread takes a twentieth of a core from lanes that want all of them: the last
/// figure sums that up. With fewer lanes than cores it has one of its own, and what is left is the price of writing
/// aside.

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "actors/job.hpp"
#include "models/transformer.hpp"
#include "tests/bench/median.hpp"

using namespace troupe;
using troupe::bench::median;

namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Reads every file of a folder once, and throws the bytes away.
double read_once(const std::filesystem::path& folder) {
  std::vector<char> part(8 << 20);
  const auto begin = std::chrono::steady_clock::now();
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    std::ifstream in(file.path(), std::ios::binary);
    while (in.read(part.data(), static_cast<std::streamsize>(part.size())) || in.gcount() > 0) {
    }
  }
  return seconds_since(begin);
}

}  // namespace

int main(int argc, char** argv) {
  const std::filesystem::path parent = argc > 1 ? argv[1] : std::filesystem::temp_directory_path();
  const std::uint64_t steps = argc > 2 ? std::stoull(argv[2]) : 85;
  const auto lanes = argc > 3 ? static_cast<std::uint32_t>(std::stoul(argv[3])) : 2;
  const std::uint64_t every = argc > 4 ? std::stoull(argv[4]) : 16;
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  const auto folder = parent / fmt::format("troupe-bench-cut-{}", now);

  auto shape = transformer_settings::gpt2();
  shape.layers = shape.heads = 12;
  shape.channels = 768;
  shape.context = 64;
  shape.vocabulary = 50257;
  std::vector<std::int32_t> tokens(200'000);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<std::int32_t>(i * i * 2654435761u % 50257);
  job_inputs inputs;
  inputs.model = std::make_shared<const model>(make_transformer(shape));
  inputs.data = make_token_dataset(std::move(tokens), shape.vocabulary);
  inputs.context = shape.context;
  inputs.checkpoints = folder;

  job_settings settings;
  settings.training.steps = steps;
  settings.training.batch = 4;
  settings.training.lanes = lanes;
  settings.runtime.shards = lanes;
  settings.evaluation.batches = 0;
  settings.checkpoint.every = every;
  settings.checkpoint.at_end = false;
  settings.checkpoint.keep.keep_count = 1;

  std::vector<double> all, around, writing;
  std::vector<cut_report> cuts;
  bool under_way = false;
  job_observer observer;
  observer.on_step = [&](const step_report& report) {
    if (report.step <= 3)
      return;  // memory is touched for the first time
    const auto after_cut = report.step % settings.checkpoint.every;
    under_way = under_way || after_cut == 1;
    (after_cut == 1 && report.step > settings.checkpoint.every ? around : under_way ? writing : all)
        .push_back(report.seconds);
  };
  observer.on_cut = [&](const cut_report& report) {
    under_way = false;
    cuts.push_back(report);
  };
  run_job(inputs, settings, observer);

  const auto step = median(all);
  fmt::print("{} cuts of {:.2f} GB; a step takes {:.3f} s (median of {} without a cut under way)\n", cuts.size(),
             static_cast<double>(cuts.back().size_bytes) / 1e9, step, all.size());
  std::vector<double> pauses, writes;
  for (const auto& each : cuts) {
    pauses.push_back(each.pause_seconds);
    writes.push_back(each.write_seconds);
  }
  fmt::print("taking the handles stops a shard for {:.6f} s (median)\n", median(pauses));
  fmt::print("the step after a cut takes {:.3f} s longer: {:.1f} % of a step (median of {})\n", median(around) - step,
             100.0 * (median(around) - step) / step, around.size());
  fmt::print("  each:");
  for (const auto seconds : around)
    fmt::print(" {:.3f}", seconds - step);
  fmt::print(" s\n");
  if (!writing.empty()) {
    fmt::print("later steps while writing take {:.3f} s longer (median of {})\n", median(writing) - step,
               writing.size());
    const auto later = static_cast<double>(writing.size()) / static_cast<double>(cuts.size());
    fmt::print("from one cut until it is on disk all steps together take {:.3f} s longer\n",
               median(around) - step + later * (median(writing) - step));
  }
  fmt::print("writing takes {:.2f} s: {:.2f} GB/s, flushed\n", median(writes),
             static_cast<double>(cuts.back().size_bytes) / 1e9 / median(writes));

  std::vector<double> ratios;
  for (int round = 0; round < 3; ++round) {
    const auto once = read_once(cuts.back().path);
    const auto begin = std::chrono::steady_clock::now();
    read_cut(cuts.back().path);
    ratios.push_back(seconds_since(begin) / once);
  }
  fmt::print("loading and verifying takes {:.2f} times as long as reading the files once (median of 3, cached)\n",
             median(ratios));
  std::filesystem::remove_all(folder);
}
