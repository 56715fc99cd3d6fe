#include <doctest/doctest.h>

#include "harness.hpp"
#include "models/memory.hpp"

using namespace troupe;
using namespace troupe::testing;

TEST_CASE("predicted memory counts parameters, gradients and optimizer state") {
  const transformer_settings settings = tiny_gpt2();
  const model of = make_transformer(settings);
  const auto bytes = static_cast<std::size_t>(of.parameters().count()) * sizeof(float);
  const auto adamw = estimate_memory(of, *make_optimizer({}), 2, 7);
  CHECK(adamw.parameters_bytes == bytes);
  CHECK(adamw.gradients_bytes == bytes);
  CHECK(adamw.optimizer_bytes == 2 * bytes);
  const auto sgd = estimate_memory(of, *make_optimizer({.algorithm = optimizer_settings::kind::sgd}), 2, 7);
  CHECK(sgd.optimizer_bytes == 0);
  const auto narrow = estimate_memory(of, *make_optimizer({.state_type = optimizer_settings::state_kind::bfloat16}), 2, 7);
  CHECK(narrow.optimizer_bytes == bytes);
  CHECK(narrow.updates_bytes > adamw.updates_bytes);
}

TEST_CASE("recomputation takes less memory and larger batches more") {
  transformer_settings settings = tiny_llama();
  settings.layers = 6;
  const model of = make_transformer(settings);
  const auto rule = make_optimizer({});
  const auto activations = [&](std::int64_t rows, const char* ranges) {
    return estimate_memory(of, *rule, rows, 7, parse_recompute(of, ranges)).activations_bytes;
  };
  CHECK(activations(8, "none") > activations(8, "0-2"));
  CHECK(activations(8, "0-2") > activations(8, "all"));
  CHECK(activations(16, "none") > 1.9 * activations(8, "none"));
}
