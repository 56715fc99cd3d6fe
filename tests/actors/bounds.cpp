/// Faults that stay: every wait and every row of attempts has an end, and nothing is lost that was there.

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "actors/job.hpp"
#include "runtime/error.hpp"
#include "tests/job_on_squares.hpp"
#include "tests/scratch_folder.hpp"

namespace troupe {

namespace {

using std::chrono::milliseconds;

job_inputs small_inputs() {
  transformer_settings settings;
  settings.context = 16;
  settings.layers = 1;
  settings.heads = 2;
  settings.channels = 32;
  return job_on_squares(settings, 5'000);
}

job_settings small_settings() {
  job_settings settings;
  settings.training.steps = 30;
  settings.training.lanes = 2;
  settings.training.batch = 8;
  settings.runtime.shards = 2;
  settings.checkpoint.every = 7;
  settings.supervision.intensity = 100;
  settings.supervision.backoff_first = milliseconds{0};
  return settings;
}

/// Passes everything on, after `trouble` has had its way.
class troubled_dataset final : public dataset {
 public:
  troubled_dataset(std::shared_ptr<const dataset> from, std::function<void(std::uint64_t index)> trouble)
      : from_(std::move(from)), trouble_(std::move(trouble)) {}

  std::shared_ptr<const tokenizer> tokens() const override { return from_->tokens(); }
  std::int64_t vocabulary() const override { return from_->vocabulary(); }
  std::int64_t token_count(split part) const override { return from_->token_count(part); }
  std::int64_t sample_count(split part, std::int64_t context) const override {
    return from_->sample_count(part, context);
  }
  std::string summary() const override { return from_->summary(); }
  std::string fingerprint() const override { return from_->fingerprint(); }
  void sample(split part, std::uint64_t seed, std::uint64_t index, std::int64_t context,
              std::span<std::int32_t> tokens, std::span<std::int32_t> targets) const override {
    trouble_(index);
    from_->sample(part, seed, index, context, tokens, targets);
  }

 private:
  std::shared_ptr<const dataset> from_;
  std::function<void(std::uint64_t)> trouble_;
};

job_inputs with_trouble(std::function<void(std::uint64_t)> trouble) {
  auto inputs = small_inputs();
  inputs.data = std::make_shared<troubled_dataset>(inputs.data, std::move(trouble));
  return inputs;
}

/// Files of this process cannot grow beyond a few bytes, as on a disk that is full.
class full_disk {
 public:
  full_disk() {
    std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
  }
  ~full_disk() { set(false); }
  void set(bool full) const {
    auto limit = before_;
    if (full)
      limit.rlim_cur = 1'000;
    setrlimit(RLIMIT_FSIZE, &limit);
  }

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("an actor stuck in a handler holds the job up for a bounded time") {
  auto settings = small_settings();
  const auto print = run_job(small_inputs(), settings).fingerprint;
  std::atomic<bool> stuck{false};
  const auto inputs = with_trouble([&](std::uint64_t index) {
    if (index == 100 && !stuck.exchange(true))
      std::this_thread::sleep_for(milliseconds(1'500));
  });
  SUBCASE("at most that long") { settings.supervision.stall_after = milliseconds(300); }
  SUBCASE("by how long steps took") {
    settings.supervision.stall_least = milliseconds(300);
    settings.supervision.stall_steps = 0.01;  // so that the least decides, also where steps are slow
  }
  SUBCASE("that many steps") {
    settings.supervision.stall_least = milliseconds(40);
    settings.supervision.stall_steps = 1e9;  // longer than the actor is stuck
    const auto summary = run_job(inputs, settings);
    CHECK(summary.fingerprint == print);
    CHECK(summary.restarts == 0);
    return;
  }
  const auto summary = run_job(inputs, settings);
  CHECK(summary.fingerprint == print);
  CHECK(summary.restarts >= 1);
  CHECK(summary.rollbacks >= 1);
}

TEST_CASE("an actor stuck in a handler does not keep a job from being stopped") {
  const scratch_folder folder;
  stop_request stop;
  auto inputs = with_trouble([&](std::uint64_t index) {
    if (index == 100) {
      stop.stop = true;
      std::this_thread::sleep_for(milliseconds(1'500));
    }
  });
  inputs.checkpoints = folder.path();
  auto settings = small_settings();
  settings.supervision.stop_within = milliseconds(100);
  CHECK_THROWS_WITH_AS(run_job(inputs, settings, {}, &stop), doctest::Contains("told to stop, and nothing was done for"),
                       job_failed);
}

TEST_CASE("restarts that bring nothing new come to an end, whatever their window") {
  auto settings = small_settings();
  settings.supervision.fruitless_max = 4;
  SUBCASE("a fault of the program") {
    const auto inputs = with_trouble([](std::uint64_t index) {
      if (index >= 100)
        throw std::runtime_error("sample 100 is odd");
    });
    CHECK_THROWS_WITH_AS(run_job(inputs, settings), doctest::Contains("sample 100 is odd; "), job_failed);
  }
  SUBCASE("no memory") {
    const auto inputs = with_trouble([](std::uint64_t index) {
      if (index >= 100)
        throw std::bad_alloc();
    });
    CHECK_THROWS_WITH_AS(run_job(inputs, settings), doctest::Contains("out of memory; "), system_error);
  }
  SUBCASE("more of them are borne where steps are made in between") {
    std::vector<std::uint64_t> failed;
    std::mutex mutex;
    const auto inputs = with_trouble([&](std::uint64_t index) {
      const std::lock_guard lock(mutex);
      if (index % 20 != 0 || std::ranges::count(failed, index) > 0)
        return;
      failed.push_back(index);
      throw std::bad_alloc();
    });
    settings.runtime.prefetch = 1;
    const auto summary = run_job(inputs, settings);
    CHECK(summary.steps == 30);
    CHECK(failed.size() > 4);
  }
}

TEST_CASE("a full disk costs cuts, and no step") {
  const auto print = run_job(small_inputs(), small_settings()).fingerprint;
  const scratch_folder folder;
  auto inputs = small_inputs();
  inputs.checkpoints = folder.path();
  auto settings = small_settings();
  const full_disk disk;
  std::vector<std::string> warnings;
  std::vector<std::uint64_t> cuts;
  job_observer observer;
  observer.on_warning = [&](const std::string& text) { warnings.push_back(text); };
  observer.on_cut = [&](const cut_report& report) { cuts.push_back(report.step); };

  SUBCASE("for a while") {
    observer.on_step = [&](const step_report& report) { disk.set(report.step >= 10 && report.step < 25); };
    const auto summary = run_job(inputs, settings, observer);
    CHECK(summary.fingerprint == print);
    CHECK(summary.rollbacks == 0);
    CHECK(summary.restarts == 0);
    // Beside it, there may be one that a cut was due before the last was on disk.
    CHECK(std::ranges::any_of(warnings, [](const auto& each) { return each.find("could not be saved") != std::string::npos; }));
    CHECK(cuts.back() == 30);
  }
  SUBCASE("to the end") {
    observer.on_step = [&](const step_report& report) { disk.set(report.step >= 10); };
    settings.checkpoint.retry_for = milliseconds{0};
    CHECK_THROWS_WITH_AS(run_job(inputs, settings, observer), doctest::Contains("the cut at step 30 could not be saved"),
                         system_error);
  }
}

TEST_CASE("a job does not begin anew because none of its cuts is good") {
  const scratch_folder folder;
  auto inputs = small_inputs();
  inputs.checkpoints = folder.path();
  auto settings = small_settings();
  inputs.resume = true;  // there is nothing yet: from the beginning
  CHECK(run_job(inputs, settings).first_step == 0);
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    std::filesystem::resize_file(entry.path() / "manifest.bin", 0);
  settings.training.steps = 40;
  CHECK_THROWS_WITH_AS(run_job(inputs, settings), doctest::Contains("none of the"), input_error);
}

TEST_CASE("cuts are made by the clock where no steps are told") {
  const scratch_folder folder;
  auto inputs = small_inputs();
  inputs.checkpoints = folder.path();
  auto settings = small_settings();
  settings.training.steps = 300;
  settings.checkpoint.every = 0;
  settings.checkpoint.interval = milliseconds{5};
  const auto print = run_job(small_inputs(), settings).fingerprint;
  std::vector<std::uint64_t> cuts;
  job_observer observer;
  observer.on_cut = [&](const cut_report& report) { cuts.push_back(report.step); };
  CHECK(run_job(inputs, settings, observer).fingerprint == print);
  REQUIRE(cuts.size() > 1);
  CHECK(cuts.front() < 300);
}

}  // namespace troupe
