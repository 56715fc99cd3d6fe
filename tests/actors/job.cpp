/// Whole jobs on real threads: the same promises as in tests/simulation/training.cpp, with the CPU device.

#include <memory>
#include <string>

#include <doctest/doctest.h>

#include "actors/job.hpp"
#include "models/transformer.hpp"
#include "runtime/error.hpp"
#include "tests/job_on_squares.hpp"
#include "tests/scratch_folder.hpp"

namespace troupe {

namespace {

job_inputs small_inputs(std::int64_t channels = 32, std::int64_t layers = 2) {
  transformer_settings settings;
  settings.context = 16;
  settings.layers = layers;
  settings.heads = 2;
  settings.channels = channels;
  return job_on_squares(settings, 5'000);
}

job_settings small_settings() {
  job_settings settings;
  settings.training.steps = 30;
  settings.training.lanes = 2;
  settings.training.batch = 8;
  settings.runtime.shards = 3;
  settings.evaluation.every = 10;
  settings.evaluation.batches = 2;
  settings.checkpoint.every = 7;
  settings.supervision.intensity = 100;
  return settings;
}

}  // namespace

TEST_CASE("a job learns, reports each step once, and gives the same bits for any number of shards and threads") {
  std::string print;
  for (const std::uint32_t shards : {1, 2, 5}) {
    auto settings = small_settings();
    settings.runtime.shards = shards;
    settings.runtime.threads = shards == 5 ? 2 : 1;
    std::vector<step_report> steps;
    std::vector<evaluation_report> evaluations;
    job_observer observer;
    observer.on_step = [&](const step_report& report) { steps.push_back(report); };
    observer.on_evaluation = [&](const evaluation_report& report) { evaluations.push_back(report); };
    const auto summary = run_job(small_inputs(), settings, observer);
    REQUIRE(steps.size() == 30);
    for (std::size_t i = 0; i < steps.size(); ++i)
      CHECK(steps[i].step == i + 1);
    CHECK(steps.back().loss < steps.front().loss);
    CHECK(steps.back().gradient_norm > 0.0);
    REQUIRE(evaluations.size() == 3);
    CHECK(evaluations.back().step == 30);
    CHECK(evaluations.back().validation_loss > 0.0);
    CHECK(summary.steps == 30);
    CHECK(summary.tokens == 30 * 8 * 16);
    CHECK(summary.replays == 0);
    CHECK(summary.fingerprint.size() == 32);
    if (print.empty())
      print = summary.fingerprint;
    CHECK(summary.fingerprint == print);
  }
}

TEST_CASE("whoever is killed, the result is the same") {
  const auto print = run_job(small_inputs(), small_settings()).fingerprint;
  for (const char* victim : {"shard/0", "shard/2", "replica/1", "loader/0", "evaluator", "checkpoint_writer", "coordinator"}) {
    CAPTURE(victim);
    const scratch_folder folder;
    auto inputs = small_inputs();
    inputs.checkpoints = folder.path();
    auto settings = small_settings();
    settings.chaos.kills = {{victim, 9}, {victim, 23}};
    const auto summary = run_job(inputs, settings);
    CHECK(summary.fingerprint == print);
    CHECK(summary.killed == 2);
    CHECK(summary.restarts >= 2);
    if (std::string(victim).starts_with("shard/"))
      CHECK(summary.rollbacks == 2);
  }
}

TEST_CASE("a job that is stopped goes on where it stopped, with another number of shards") {
  auto settings = small_settings();
  settings.training.steps = 600;  // so many that the request comes in time
  settings.evaluation.every = 0;
  settings.checkpoint.every = 100;
  const auto print = run_job(small_inputs(), settings).fingerprint;
  const scratch_folder folder;
  auto inputs = small_inputs();
  inputs.checkpoints = folder.path();
  stop_request stop;
  job_observer observer;
  observer.on_step = [&](const step_report& report) { stop.stop = report.step >= 5; };
  const auto first = run_job(inputs, settings, observer, &stop);
  CHECK(first.interrupted);
  CHECK(first.steps >= 5);
  CHECK(first.steps < 600);

  SUBCASE("a second fresh job in the same folder is refused") { CHECK_THROWS_AS(run_job(inputs, settings), input_error); }
  SUBCASE("resumed") {
    inputs.resume = true;
    settings.runtime.shards = 1;
    const auto second = run_job(inputs, settings);
    CHECK(second.first_step == first.steps);
    CHECK(second.fingerprint == print);
  }
}

TEST_CASE("optimizer state in bfloat16: the same bits for any number of shards and after a kill, and a run may change it") {
  auto settings = small_settings();
  settings.optimizer.state_type = optimizer_settings::state_kind::bfloat16;
  const auto print = run_job(small_inputs(), settings).fingerprint;
  CHECK(print != run_job(small_inputs(), small_settings()).fingerprint);
  const scratch_folder folder;
  auto inputs = small_inputs();
  inputs.checkpoints = folder.path();
  settings.runtime.shards = 2;
  settings.chaos.kills = {{"shard/1", 17}};
  CHECK(run_job(inputs, settings).fingerprint == print);
  inputs.resume = true;
  for (const std::uint64_t steps : {32, 34}) {
    settings = small_settings();
    settings.training.steps = steps;
    if (steps == 34)
      settings.optimizer.state_type = optimizer_settings::state_kind::bfloat16;
    CHECK(run_job(inputs, settings).steps == steps);
  }
}

TEST_CASE("a precision that the device does not have is refused") {
  auto settings = small_settings();
  settings.training.precision = precision_kind::bfloat16;
  CHECK_THROWS_WITH_AS(run_job(small_inputs(), settings), doctest::Contains("training.precision"), input_error);
}

TEST_CASE("a job starts from a cut of parameters alone, as an import writes it") {
  const auto settings = small_settings();
  const auto print = run_job(small_inputs(), settings).fingerprint;
  const scratch_folder folder;
  auto inputs = small_inputs();
  inputs.checkpoints = folder.path();
  inputs.resume = true;
  shard_snapshot part;
  for (const auto& each : inputs.model->parameters()) {  // the values that a fresh job starts from
    part.tensors.push_back({each.name, make_host_tensor(dtype::float32, each.extents)});
    initialize(each, settings.training.seed, part.tensors.back().value.mutable_elements<float>());
  }
  checkpoint_store store(folder.path(), {});
  store.write_shard(0, part);
  store.publish({.step = 0, .epoch = 0, .shard_count = 1, .created = {}, .documents = {}});
  const auto summary = run_job(inputs, settings);
  CHECK(summary.first_step == 0);
  CHECK(summary.fingerprint == print);
}

TEST_CASE("a cut is not resumed on other data") {
  const scratch_folder folder;
  auto inputs = small_inputs();
  inputs.checkpoints = folder.path();
  auto settings = small_settings();
  settings.training.steps = 10;
  run_job(inputs, settings);
  inputs.resume = true;
  inputs.data = make_token_dataset(std::vector<std::int32_t>(5'000, 7), 31);
  settings.training.steps = 20;
  CHECK_THROWS_WITH_AS(run_job(inputs, settings), doctest::Contains("was trained on other data"), input_error);
}

TEST_CASE("a fault that restarting does not mend ends the job with the root cause first") {
  const scratch_folder folder;
  auto inputs = small_inputs();
  inputs.checkpoints = folder.path();
  auto settings = small_settings();
  settings.training.steps = 10;
  run_job(inputs, settings);
  inputs = small_inputs(16);
  inputs.checkpoints = folder.path();
  inputs.resume = true;
  settings.training.steps = 20;
  CHECK_THROWS_WITH_AS(run_job(inputs, settings), doctest::Contains("resume with the model that wrote it"),
                       input_error);
  inputs = small_inputs(32, 1);
  inputs.checkpoints = folder.path();
  inputs.resume = true;
  CHECK_THROWS_WITH_AS(run_job(inputs, settings), doctest::Contains("which this run's model has not"), input_error);
}

TEST_CASE("impossible settings are refused by name") {
  auto settings = small_settings();
  settings.training.batch = 7;
  CHECK_THROWS_WITH_AS(run_job(small_inputs(), settings), doctest::Contains("training.batch = 7"), input_error);
  settings = small_settings();
  settings.runtime.shards = 1'000;
  CHECK_THROWS_WITH_AS(run_job(small_inputs(), settings), doctest::Contains("runtime.shards"), input_error);
}

}  // namespace troupe
