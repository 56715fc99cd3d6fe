// A training step is enqueued whole: nobody has to see what one part of it computes before the next.

#include <doctest/doctest.h>

#include <cmath>

#include "actors/job_root.hpp"
#include "actors/lane_pass.hpp"
#include "actors/shard_memory.hpp"
#include "emulated.hpp"
#include "tests/job_on_squares.hpp"

namespace troupe {

namespace {

struct lane_and_shard {
  explicit lane_and_shard(const job_settings& settings)
      : context(make_job_context(inputs(), settings)), lane(context, 0), shard(context, 0) {
    shard.initialize();
  }

  static job_inputs inputs() {
    auto settings = transformer_settings::gpt2();
    settings.context = 16;
    settings.layers = 2;
    settings.heads = 2;
    settings.channels = 32;
    return job_on_squares(settings, 5'000);
  }

  /// Enqueues a whole step; what comes out of it is still to be computed.
  update_factors step(std::uint64_t number) {
    lane.begin(number, read_lane(*context, 0, number).micro_batches);
    lane.supply(0, shard.values());
    while (!lane.advance().finished) {
    }
    std::vector<std::vector<tensor>> gradients(1);
    for (std::size_t i = 0; i < shard.size(); ++i)
      gradients[0].push_back(lane.take_gradient(i));
    const auto squares = shard.sum_lanes(gradients);
    const auto factors = shard.clip({&squares, 1}, 1.0 / static_cast<double>(lane.targets()), 1e-3);
    lane.release();
    shard.update(gradients[0], factors, number + 1);
    return factors;
  }

  job_context_ptr context;
  lane_pass lane;
  shard_memory shard;
};

}  // namespace

TEST_CASE("a step, however many its micro-batches, is enqueued without waiting for what it computes") {
  const auto waits = tests::emulated<std::size_t (*)()>("emulated_gpu_waits");
  if (!waits) {
    MESSAGE("skipped: a real device does not count who waits for it");
    return;
  }
  job_settings settings;
  settings.training.batch = 8;
  settings.training.accumulation = 4;
  settings.training.clip = 1.0;
  settings.runtime.device = "cuda";
  lane_and_shard job(settings);
  job.step(0);  // with what is made when it is first used
  const auto before = waits();
  const auto factors = job.step(1);
  CHECK(waits() == before);
  const auto losses = job.lane.losses().to_vector();
  CHECK(waits() > before);
  CHECK(losses.size() == 4);
  for (const double loss : losses)
    CHECK(loss / 16 / 2 == doctest::Approx(std::log(31)).epsilon(0.2));
  CHECK(factors.gradient_norm.sum() > 0.0);
}

}  // namespace troupe
