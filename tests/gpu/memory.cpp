// What a dry run predicts of the device's memory, against what a job has taken from it.

#include <doctest/doctest.h>

#include "actors/job.hpp"
#include "actors/job_memory.hpp"
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

/// Of what is not the streams' own, which is so much that it would hide the rest.
void check_prediction(const job_settings& settings, precision_kind precision) {
  auto& gpu = find_device("cuda");
  const planned_hardware on{.precision = precision, .is_host = false, .stream_bytes = cuda_module().stream_bytes};
  const auto predicted = predict_memory(*inputs().model, settings, inputs().context, on);
  gpu.trim();
  run_job(inputs(), settings);
  const auto taken = gpu.memory().reserved_bytes;
  REQUIRE(taken > predicted.workspace_bytes);
  CHECK(static_cast<double>(predicted.total_bytes() - predicted.workspace_bytes) ==
        doctest::Approx(static_cast<double>(taken - predicted.workspace_bytes)).epsilon(0.1));
}

}  // namespace

TEST_CASE("the device's memory is predicted within a tenth") {
  auto chosen = settings();
  for (const auto precision : {precision_kind::float32, precision_kind::bfloat16}) {
    CAPTURE(static_cast<int>(precision));
    chosen.training.precision = precision;
    check_prediction(chosen, precision);
  }
  SUBCASE("with optimizer state in bfloat16") {
    chosen.optimizer.state_type = optimizer_settings::state_kind::bfloat16;
    check_prediction(chosen, precision_kind::bfloat16);
  }
  SUBCASE("with recomputation, by one lane") {
    chosen.training.recompute = "all";
    chosen.training.lanes = 1;
    chosen.training.batch = 8;
    check_prediction(chosen, precision_kind::bfloat16);
  }
}

}  // namespace troupe
