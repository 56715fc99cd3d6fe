// Whole models in float32 on the processor, held against float64 on the reference device.

#include <doctest/doctest.h>

#include "harness.hpp"
#include "models/memory.hpp"

using namespace troupe;
using namespace troupe::testing;

TEST_CASE("gradients of whole models in float32 agree with float64 per tensor") { check_gradients(cpu_device()); }

TEST_CASE("a step gives the same bits for any number of threads") {
  const transformer_settings settings = tiny_llama();
  const model of = make_transformer(settings);
  const batch input = random_batch(4, 7, settings.vocabulary, 47);
  rig one(of, cpu_device(), 48), two(of, cpu_device(), 48, {.threads = 2});
  CHECK(one.step(input) == two.step(input));
  for (std::size_t i = 0; i < of.parameters().size(); ++i)
    CHECK_MESSAGE(one.gradient(i) == two.gradient(i), of.parameters()[i].name);
}

TEST_CASE("generation in float32 agrees with a cache and without") { check_generation(cpu_device()); }

TEST_CASE("predicted activations are what the processor's pool takes") {
  const auto check = [](transformer_settings settings, const char* ranges) {
    CAPTURE(std::string(ranges));
    constexpr std::int64_t rows = 12, time = 96;
    settings.vocabulary = 65;
    settings.context = time;
    const model of = make_transformer(settings);
    const auto recompute = parse_recompute(of, ranges);
    const auto estimate = estimate_memory(of, *make_optimizer({}), rows, time, recompute);
    rig at(of, cpu_device(), 51);
    at.p.recompute = recompute;
    const batch input = random_batch(rows, time, settings.vocabulary, 52);
    cpu_device().trim();
    const std::size_t before = cpu_device().memory().reserved_bytes;
    at.step(input);
    const auto taken = static_cast<double>(cpu_device().memory().reserved_bytes - before);
    CHECK(taken == doctest::Approx(static_cast<double>(estimate.activations_bytes)).epsilon(0.1));
  };
  for (const char* ranges : {"none", "1-2", "all"})
    check(transformer_settings::gpt2(), ranges);
  check(transformer_settings::llama(), "none");
}
