// Whole jobs, as actors, on the GPU: the losses of the processor, and the same bits whatever happens.

#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "actors/job.hpp"
#include "emulated.hpp"
#include "models/transformer.hpp"
#include "tests/job_on_squares.hpp"
#include "tests/scratch_folder.hpp"

namespace troupe {

namespace {

job_inputs small_inputs(bool llama = false) {
  transformer_settings settings = llama ? transformer_settings::llama() : transformer_settings::gpt2();
  settings.context = 16;
  settings.layers = 2;
  settings.heads = 2;
  settings.kv_heads = llama ? 1 : 0;
  settings.channels = 32;
  settings.dropout = 0.1;
  return job_on_squares(settings, 5'000);
}

job_settings small_settings(const char* device = "cuda") {
  job_settings settings;
  settings.training.steps = 8;
  settings.training.lanes = 2;
  settings.training.batch = 8;
  settings.training.accumulation = 2;
  settings.training.clip = 1.0;
  settings.runtime.shards = 3;
  settings.runtime.device = device;
  settings.training.precision = precision_kind::float32;
  settings.evaluation.every = 4;
  settings.evaluation.batches = 2;
  settings.checkpoint.every = 3;
  settings.supervision.intensity = 100;
  return settings;
}

std::vector<double> losses(const job_inputs& inputs, const job_settings& settings) {
  std::vector<double> found(settings.training.steps);
  job_observer observer;
  observer.on_step = [&](const step_report& report) { found[report.step - 1] = report.loss; };
  run_job(inputs, settings, observer);
  return found;
}

}  // namespace

TEST_CASE("a job on the GPU has the losses of one on the processor") {
  using kind = optimizer_settings::kind;
  for (const auto algorithm : {kind::adamw, kind::muon}) {
    const auto inputs = small_inputs(algorithm == kind::muon);
    auto on_gpu = small_settings(), on_cpu = small_settings("cpu");
    on_gpu.optimizer.algorithm = on_cpu.optimizer.algorithm = algorithm;
    const auto found = losses(inputs, on_gpu), expected = losses(inputs, on_cpu);
    CAPTURE(static_cast<int>(algorithm));
    for (std::size_t i = 0; i < expected.size(); ++i)
      CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-4));
  }
}

TEST_CASE("a job on the GPU computes in bfloat16 unless told otherwise, close to one on the processor") {
  auto on_gpu = small_settings();
  on_gpu.training.precision = precision_kind::automatic;
  const auto found = losses(small_inputs(), on_gpu), exact = losses(small_inputs(), small_settings());
  const auto expected = losses(small_inputs(), small_settings("cpu"));
  CHECK(found != exact);
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK(found[i] == doctest::Approx(expected[i]).epsilon(5e-3));
}

TEST_CASE("whoever is killed and however many shards there are, the GPU gives the same bits") {
  for (const auto precision : {precision_kind::float32, precision_kind::bfloat16}) {
    CAPTURE(static_cast<int>(precision));
    auto settings = small_settings();
    settings.training.precision = precision;
    const auto print = run_job(small_inputs(), settings).fingerprint;
    settings.runtime.shards = 2;
    const scratch_folder folder;
    auto inputs = small_inputs();
    inputs.checkpoints = folder.path();
    settings.chaos.kills = {{"shard/0", 4}, {"replica/1", 7}};
    CHECK(run_job(inputs, settings).fingerprint == print);
  }
}

TEST_CASE("as CUDA graphs, passes and updates give the same bits, and are made once") {
  const auto made = tests::emulated<std::size_t (*)()>("emulated_gpu_graphs_made");
  const auto launched = tests::emulated<std::size_t (*)()>("emulated_gpu_graphs_launched");
  using kind = optimizer_settings::kind;
  for (const auto algorithm : {kind::adamw, kind::muon})
    for (const auto precision : {precision_kind::float32, precision_kind::bfloat16}) {
      CAPTURE(static_cast<int>(algorithm));
      CAPTURE(static_cast<int>(precision));
      auto settings = small_settings();
      settings.optimizer.algorithm = algorithm;
      settings.training.precision = precision;
      const auto print = run_job(small_inputs(), settings).fingerprint;
      settings.runtime.cuda_graphs = true;
      const auto made_before = made ? made() : 0, launched_before = launched ? launched() : 0;
      CHECK(run_job(small_inputs(), settings).fingerprint == print);
      if (!made)
        continue;
      // Of each lane both passes of 4 blocks, of the first micro-batch and of others; and an update of each shard.
      CHECK(made() - made_before == 2 * 2 * 4 * 2 + 3);
      // In all steps but the first, which has its second micro-batches alone to repeat: those are of another key.
      CHECK(launched() - launched_before == 7 * (2 * 2 * 4 * 2 + 3));
    }
  const scratch_folder folder;
  auto inputs = small_inputs();
  inputs.checkpoints = folder.path();
  auto settings = small_settings();
  const auto print = run_job(small_inputs(), settings).fingerprint;
  settings.runtime.cuda_graphs = true;
  settings.chaos.kills = {{"shard/0", 4}, {"replica/1", 7}};
  CHECK(run_job(inputs, settings).fingerprint == print);
}

TEST_CASE("lanes and shards on two GPUs give the bits of one, also when they are killed") {
  const tests::two_gpus gpus;
  if (!gpus)
    return;
  auto settings = small_settings("cuda:1");
  settings.training.precision = precision_kind::automatic;
  const auto print = run_job(small_inputs(), settings).fingerprint;
  settings.runtime.device = "cuda:0,1";
  settings.runtime.cuda_graphs = true;
  const scratch_folder folder;
  auto inputs = small_inputs();
  inputs.checkpoints = folder.path();
  settings.chaos.kills = {{"shard/1", 4}, {"replica/0", 7}};
  CHECK(run_job(inputs, settings).fingerprint == print);
}

TEST_CASE("without barriers a job on the GPU learns, too") {
  for (const auto mode : {consistency_mode::bounded, consistency_mode::async}) {
    auto settings = small_settings();
    settings.consistency.mode = mode;
    settings.consistency.staleness = 2;
    settings.runtime.cuda_graphs = true;
    settings.consistency.delay_compensation = consistency_settings::compensation_kind::adaptive;
    const tests::two_gpus gpus;
    for (const double loss : losses(small_inputs(), settings))
      CHECK(std::isfinite(loss));
  }
}

TEST_CASE("a GPU that is lost under way ends the job, with the root cause") {
  const auto fail = tests::emulated_failure();
  if (!fail) {
    MESSAGE("skipped: a real device is not made to fail");
    return;
  }
  auto settings = small_settings();
  settings.supervision.intensity = 2;
  job_observer observer;
  observer.on_step = [&](const step_report& report) {
    if (report.step == 3)
      fail(700);
  };
  CHECK_THROWS_WITH_AS(run_job(small_inputs(), settings, observer),
                       doctest::Contains("an illegal memory access was encountered"), system_error);
  fail(0);
}

TEST_CASE("what began on the GPU goes on on the processor, and the reverse") {
  for (const bool gpu_first : {true, false}) {
    const scratch_folder folder;
    auto inputs = small_inputs();
    inputs.checkpoints = folder.path();
    auto settings = small_settings(gpu_first ? "cuda" : "cpu");
    settings.training.precision = precision_kind::automatic;
    settings.training.steps = 4;
    run_job(inputs, settings);
    inputs.resume = true;
    settings = small_settings(gpu_first ? "cpu" : "cuda");
    settings.training.precision = precision_kind::automatic;
    std::vector<std::string> warnings;
    job_observer observer;
    observer.on_warning = [&](const std::string& text) { warnings.push_back(text); };
    CHECK(run_job(inputs, settings, observer).steps == 8);
    REQUIRE(warnings.size() == 1);
    for (const auto* part : {"cuBLASLt", "oneDNN", "up to step 4, and goes on with "})
      CHECK(warnings[0].find(part) != std::string::npos);
  }
}

}  // namespace troupe
