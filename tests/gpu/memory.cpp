// What a dry run predicts of the device's memory, against what a job has taken from it.

#include <doctest/doctest.h>

#include "actors/job.hpp"
#include "actors/job_memory.hpp"
#include "emulated.hpp"
#include "models/transformer.hpp"
#include "runtime/tensor/device_module.hpp"
#include "tests/job_on_squares.hpp"

namespace troupe {

namespace {

job_inputs inputs() {
  transformer_settings settings;
  settings.context = 32;
  settings.layers = 2;
  settings.heads = 2;
  settings.channels = 48;
  return job_on_squares(settings, 5'000);
}

job_settings settings() {
  job_settings settings;
  settings.training.steps = 3;
  settings.training.lanes = 2;
  settings.training.batch = 16;
  settings.runtime.device = "cuda";
  settings.runtime.shards = 2;
  settings.evaluation.batches = 1;
  return settings;
}

/// Of what is not the streams' own, which is so much that it would hide the rest; on each device.
void check_prediction(const job_settings& settings) {
  CAPTURE(static_cast<int>(settings.training.precision));
  const auto gpus = find_devices(settings.runtime.device);
  auto on = hardware_of(settings);
  on.stream_bytes = cuda_module().stream_bytes;
  const auto predicted = predict_memory_of_each(*inputs().model, settings, inputs().context, on, gpus.size());
  for (auto* gpu : gpus)
    gpu->trim();
  run_job(inputs(), settings);
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    CAPTURE(gpus[i]->name());
    const auto own = predicted[i].workspace_bytes;
    const auto taken = gpus[i]->memory().reserved_bytes;
    REQUIRE(taken > own);
    CHECK(static_cast<double>(predicted[i].total_bytes() - own) ==
          doctest::Approx(static_cast<double>(taken - own)).epsilon(0.1));
  }
}

}  // namespace

TEST_CASE("the device's memory is predicted within a tenth") {
  auto chosen = settings();
  for (const auto precision : {precision_kind::float32, precision_kind::bfloat16}) {
    chosen.training.precision = precision;
    check_prediction(chosen);
  }
  SUBCASE("with optimizer state in bfloat16") {
    chosen.optimizer.state_type = optimizer_settings::state_kind::bfloat16;
    check_prediction(chosen);
  }
  SUBCASE("with recomputation, by one lane") {
    chosen.training.recompute = "all";
    chosen.training.lanes = 1;
    chosen.training.batch = 8;
    check_prediction(chosen);
  }
}

TEST_CASE("the memory of each of two devices is predicted within a tenth") {
  const tests::two_gpus gpus;
  if (!gpus)
    return;
  struct shape {
    std::uint32_t lanes, shards;
  };
  for (const auto [lanes, shards] : {shape{2, 2}, shape{3, 3}, shape{1, 1}})
    for (const auto precision : {precision_kind::float32, precision_kind::bfloat16}) {
      CAPTURE(lanes);
      CAPTURE(shards);
      auto chosen = settings();
      chosen.runtime.device = "cuda:0,1";
      chosen.training.precision = precision;
      chosen.training.lanes = lanes;
      chosen.training.batch = 8 * lanes;
      chosen.runtime.shards = shards;
      check_prediction(chosen);
    }
}

}  // namespace troupe
