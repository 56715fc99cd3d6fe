// Whole models on the GPU, held against float64 on the reference device.

#include <doctest/doctest.h>

#include "models/generate.hpp"
#include "tests/models/harness.hpp"

using namespace troupe;
using namespace troupe::testing;

namespace {

void check_against_reference(const transformer_settings& settings, const batch& input, std::uint64_t seed) {
  CAPTURE(seed);
  const model of = make_transformer(settings);
  const random_key key{seed, 2};
  rig exact(of, reference_device(), seed), fast(of, find_device("cuda"), seed);
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

TEST_CASE("generation agrees with a cache and without") {
  transformer_settings settings = tiny_gpt2();
  settings.context = 40;
  const model of = make_transformer(settings);
  rig at(of, find_device("cuda"), 49);
  const batch text = random_batch(1, 37, settings.vocabulary, 50);
  decoder cached(of, *at.on, at.p.parameters, settings.context);
  std::vector<float> found;
  for (const std::int32_t& token : text.tokens.elements<std::int32_t>())
    found = cached.advance({&token, 1});
  at.p.training = false;
  at.forward({text.tokens, {}});
  CHECK(relative_error({found.begin(), found.end()}, to_doubles(*at.on, at.p.logits)) < 1e-5);
}
