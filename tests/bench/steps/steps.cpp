#include "tests/bench/steps/steps.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <numeric>
#include <thread>

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
  settings.runtime.cuda_graphs = of.cuda_graphs;
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

namespace {

/// A lane and a shard on each of as many threads, which meet where actors would wait for each other's messages.
class bare_loop {
 public:
  explicit bare_loop(const step_program& of)
      : context_(make_job_context(inputs_of(of), settings_of(of))),
        lanes_(of.lanes),
        gradients_(of.lanes),
        squares_(of.lanes),
        targets_(of.lanes),
        all_here_(of.lanes) {
    for (std::uint32_t shard = 0; shard < of.lanes; ++shard) {
      shards_.push_back(std::make_unique<shard_memory>(context_, shard));
      shards_.back()->initialize();
    }
  }

  double time(double budget) {
    std::vector<double> seconds;
    const auto begin = clock::now();
    auto step_begin = begin;
    const auto after_step = [&] {
      const auto now = clock::now();
      seconds.push_back(std::chrono::duration<double>(now - step_begin).count());
      step_begin = now;
      return std::chrono::duration<double>(now - begin).count() <= budget || seconds.size() <= warmup_steps + 2;
    };
    std::vector<std::jthread> others;
    for (std::uint32_t lane = 1; lane < lanes_; ++lane)
      others.emplace_back([this, lane] { run(lane, [] { return true; }); });
    run(0, after_step);
    return median_step(std::move(seconds));
  }

 private:
  /// `goes_on` is called after each step; what it says of lane 0 decides for all.
  template <class GoesOn>
  void run(std::uint32_t lane, const GoesOn& goes_on) {
    lane_pass work(context_, lane);
    for (std::uint64_t step = 0; !over_; ++step) {
      compute(work, lane, step);
      all_here_.arrive_and_wait();
      const auto sum = sum_lanes(lane);
      all_here_.arrive_and_wait();
      update(*shards_[lane], sum, step);
      work.synchronize();  // a device gets no further ahead than by the update
      if (!goes_on())
        over_ = true;
      all_here_.arrive_and_wait();
    }
  }

  void compute(lane_pass& work, std::uint32_t lane, std::uint64_t step) {
    work.begin(step, read_lane(*context_, lane, step).micro_batches);
    for (const auto& shard : shards_)
      work.supply(shard->first(), shard->values());
    while (!work.advance().finished) {
    }
    gradients_[lane].clear();
    for (std::size_t i = 0; i < context_->model().parameters().size(); ++i)
      gradients_[lane].push_back(work.take_gradient(i));
    targets_[lane] = work.targets();
    work.release();
  }

  /// The gradient of this shard's parameters, over all lanes.
  std::vector<tensor> sum_lanes(std::uint32_t index) {
    auto& shard = *shards_[index];
    std::vector<std::vector<tensor>> of_lanes;
    for (auto& lane : gradients_) {
      const auto first = lane.begin() + static_cast<std::ptrdiff_t>(shard.first());
      of_lanes.emplace_back(std::make_move_iterator(first),
                            std::make_move_iterator(first + static_cast<std::ptrdiff_t>(shard.size())));
    }
    squares_[index] = shard.sum_lanes(of_lanes);
    return std::move(of_lanes.front());
  }

  void update(shard_memory& shard, const std::vector<tensor>& sum, std::uint64_t step) {
    const auto mean = 1.0 / static_cast<double>(std::accumulate(targets_.begin(), targets_.end(), std::int64_t{0}));
    shard.update(sum, shard.clip(squares_, mean, 1e-3), step + 1);
  }

  job_context_ptr context_;
  std::uint32_t lanes_;
  std::vector<std::unique_ptr<shard_memory>> shards_;
  std::vector<std::vector<tensor>> gradients_;  // by lane
  std::vector<numbers> squares_;                // by shard
  std::vector<std::int64_t> targets_;           // by lane
  std::barrier<> all_here_;
  std::atomic<bool> over_{false};
};

}  // namespace

double time_bare_loop(const step_program& of, double budget) { return bare_loop(of).time(budget); }

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
