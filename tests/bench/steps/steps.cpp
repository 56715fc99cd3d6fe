#include "tests/bench/steps/steps.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include <fmt/format.h>

#include "actors/job_root.hpp"
#include "actors/lane_pass.hpp"
#include "actors/shard_memory.hpp"
#include "tests/bench/median.hpp"

namespace troupe::bench {

namespace {

using clock = std::chrono::steady_clock;

constexpr std::size_t warmup_steps = 3;

double median_step(std::vector<double> seconds) {
  seconds.erase(seconds.begin(), seconds.begin() + std::min(seconds.size() - 1, warmup_steps));
  return median(std::move(seconds));
}

}  // namespace

job_inputs inputs_of(const step_program& of) {
  std::vector<std::int32_t> tokens(200'000);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<std::int32_t>(i * i * 2654435761u % static_cast<std::uint64_t>(of.model.vocabulary));
  job_inputs inputs;
  inputs.model = std::make_shared<const model>(make_transformer(of.model));
  inputs.data = make_token_dataset(std::move(tokens), of.model.vocabulary);
  inputs.context = of.model.context;
  return inputs;
}

job_settings settings_of(const step_program& of) {
  job_settings settings;
  settings.training.steps = 1'000'000;
  settings.training.lanes = of.lanes;
  settings.training.batch = of.batch;
  settings.training.precision = of.precision;
  settings.optimizer.weight_decay = 0.1;
  settings.runtime.shards = of.lanes;
  settings.runtime.threads = of.threads;
  settings.runtime.device = of.device;
  settings.evaluation.batches = 0;
  return settings;
}

double time_actors(const step_program& of, double budget) {
  std::vector<double> seconds;
  stop_request stop;
  const auto begin = clock::now();
  job_observer observer;
  observer.on_step = [&](const step_report& report) {
    seconds.push_back(report.seconds);
    const std::chrono::duration<double> spent = clock::now() - begin;
    stop.stop = spent.count() > budget && seconds.size() > warmup_steps + 2;
  };
  run_job(inputs_of(of), settings_of(of), observer, &stop);
  return median_step(std::move(seconds));
}

double time_bare_loop(const step_program& of, double budget) {
  const auto context = make_job_context(inputs_of(of), settings_of(of));
  const auto& space = context->model().parameters();
  shard_memory shard(context, 0);
  shard.initialize();
  lane_pass work(context, 0);
  std::vector<double> seconds;
  const auto begin = clock::now();
  auto step_begin = begin;
  for (std::uint64_t step = 0;; ++step) {
    work.begin(step, read_lane(*context, 0, step).micro_batches);
    work.supply(0, shard.values());
    while (!work.advance().finished) {
    }
    std::vector<std::vector<tensor>> gradients(1);
    for (std::size_t i = 0; i < space.size(); ++i)
      gradients[0].push_back(work.take_gradient(i));
    work.release();
    const auto squares = shard.sum_lanes(gradients);
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

std::string find_python() {
  for (const char* candidate : {"python3", "/usr/bin/python3"})
    if (std::system(fmt::format("{} -c 'import torch' >/dev/null 2>&1", candidate).c_str()) == 0)
      return candidate;
  return {};
}

}  // namespace troupe::bench
