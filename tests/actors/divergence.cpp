/// A job whose loss is no longer finite says so and ends, before a cut is written of it.

#include <cmath>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "actors/job.hpp"
#include "actors/step_pace.hpp"
#include "models/transformer.hpp"
#include "runtime/checkpoint/store.hpp"
#include "tests/job_on_squares.hpp"
#include "tests/scratch_folder.hpp"

namespace troupe {

namespace {

job_inputs inputs() {
  transformer_settings settings;
  settings.context = 8;
  settings.layers = 1;
  settings.heads = 2;
  settings.channels = 16;
  return job_on_squares(settings, 2'000);
}

/// Steps of such a length that the second loss is not finite.
job_settings diverging() {
  job_settings settings;
  settings.training.steps = 20;
  settings.training.lanes = 2;
  settings.training.batch = 4;
  settings.training.clip = 0.0;
  settings.optimizer.algorithm = optimizer_settings::kind::sgd;
  settings.optimizer.learning_rate = 1e30;
  settings.runtime.shards = 2;
  settings.evaluation.batches = 1;
  settings.evaluation.every = 10;
  settings.checkpoint.every = 1;
  return settings;
}

bool is_finite(const cut& of) {
  for (const auto& shard : of.shards)
    for (const auto& each : shard.tensors)
      for (const float value : each.value.elements<float>())
        if (!std::isfinite(value))
          return false;
  return true;
}

}  // namespace

TEST_CASE("a job that diverges ends with what happened and what to try, and leaves only cuts from before") {
  const auto run = [](consistency_mode mode) {
    const scratch_folder folder;
    auto on = inputs();
    on.checkpoints = folder.path();
    auto settings = diverging();
    settings.consistency.mode = mode;
    std::vector<step_report> steps;
    job_observer observer;
    observer.on_step = [&](const step_report& report) { steps.push_back(report); };
    std::string said;
    try {
      run_job(on, settings, observer);
    } catch (const training_diverged& fault) {
      said = fault.what();
    }
    CAPTURE(said);
    CHECK(said.starts_with("training diverged: the "));
    CHECK(said.find("with a learning rate of ") != std::string::npos);
    CHECK(said.find("\nhelp: lower optimizer.learning_rate, clip gradients") != std::string::npos);
    REQUIRE(!steps.empty());
    CHECK(steps.size() < 20);
    if (mode == consistency_mode::sync) {
      CHECK(std::isfinite(steps.front().loss));
      CHECK(steps.front().gradient_norm > 0.0);  // without clipping, too
      CHECK(said.find("at step 2, ") != std::string::npos);
    }
    return checkpoint_store(folder.path(), {}).latest({});
  };
  run(consistency_mode::async);
  // The cut of step 1 may be on its way to the disk when step 2 ends the job: then the job is run again.
  std::optional<cut> kept;
  for (int attempt = 0; attempt < 20 && !kept; ++attempt)
    kept = run(consistency_mode::sync);
  REQUIRE(kept);
  CHECK(kept->manifest.step == 1);
  CHECK(is_finite(*kept));
}

TEST_CASE("a job that is told to go on warns once, and its best evaluation is one that is finite") {
  auto settings = diverging();
  settings.training.on_divergence = divergence_response::warn;
  std::vector<std::string> warnings;
  job_observer observer;
  observer.on_warning = [&](const std::string& message) { warnings.push_back(message); };
  const auto summary = run_job(inputs(), settings, observer);
  CHECK(summary.steps == 20);
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].starts_with("training diverged: the loss of lane 0 is "));
  REQUIRE(summary.last_evaluation);
  CHECK_FALSE(std::isfinite(summary.last_evaluation->validation_loss));
  CHECK_FALSE(summary.best_evaluation);
}

TEST_CASE("the pace of steps that are told in bursts is tokens by time, whatever the rates of single steps") {
  step_pace pace;
  CHECK(pace.tokens_per_second() == 0.0);
  for (int i = 0; i < 200; ++i)
    pace.add({.tokens = 100, .seconds = i % 4 == 0 ? 0.04 : 1e-6});
  CHECK(pace.tokens_per_second() == doctest::Approx(10'000.0).epsilon(0.05));
  CHECK(pace.seconds_per_step() == doctest::Approx(0.01).epsilon(0.05));
}

}  // namespace troupe
