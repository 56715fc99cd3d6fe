// Whole models in float32 on the processor, held against float64 on the reference device.

#include <doctest/doctest.h>

#include "harness.hpp"
#include "models/generate.hpp"
#include "models/memory.hpp"

using namespace troupe;
using namespace troupe::testing;

namespace {

void check_against_reference(const transformer_settings& settings, const batch& input, std::uint64_t seed) {
  CAPTURE(seed);
  const model of = make_transformer(settings);
  const random_key key{seed, 2};
  rig exact(of, reference_device(), seed), fast(of, cpu_device(), seed);
  const double expected = exact.step(input, key);
  CHECK(fast.step(input, key) == doctest::Approx(expected).epsilon(1e-5));
  for (std::size_t i = 0; i < of.parameters().size(); ++i) {
    CAPTURE(of.parameters()[i].name);
    const std::vector<double> found = fast.gradient(i), wanted = exact.gradient(i);
    CHECK(relative_error(found, wanted) < 2e-5);
    CHECK(cosine(found, wanted) > 1 - 1e-9);
  }
}

}  // namespace

TEST_CASE("gradients of whole models in float32 agree with float64 per tensor") {
  for (transformer_settings settings : {tiny_gpt2(), tiny_llama()}) {
    check_against_reference(settings, random_batch(3, 7, settings.vocabulary, 41, true), 42);
    settings.dropout = 0.1;
    check_against_reference(settings, random_batch(2, 5, settings.vocabulary, 43), 44);
    settings.context = 70;
    settings.vocabulary = 301;
    check_against_reference(settings, random_batch(2, 67, settings.vocabulary, 45), 46);
  }
}

TEST_CASE("a step gives the same bits for any number of threads") {
  const transformer_settings settings = tiny_llama();
  const model of = make_transformer(settings);
  const batch input = random_batch(4, 7, settings.vocabulary, 47);
  rig one(of, cpu_device(), 48), two(of, cpu_device(), 48, {.threads = 2});
  CHECK(one.step(input) == two.step(input));
  for (std::size_t i = 0; i < of.parameters().size(); ++i)
    CHECK_MESSAGE(one.gradient(i) == two.gradient(i), of.parameters()[i].name);
}

TEST_CASE("generation in float32 agrees with a cache and without") {
  transformer_settings settings = tiny_gpt2();
  settings.context = 40;
  const model of = make_transformer(settings);
  rig at(of, cpu_device(), 49);
  const batch text = random_batch(1, 37, settings.vocabulary, 50);
  decoder cached(of, *at.on, at.p.parameters, settings.context);
  std::vector<float> found;
  for (const std::int32_t& token : text.tokens.elements<std::int32_t>())
    found = cached.advance({&token, 1});
  at.p.training = false;
  at.forward({text.tokens, {}});
  CHECK(relative_error({found.begin(), found.end()}, to_doubles(*at.on, at.p.logits)) < 1e-5);
}

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
