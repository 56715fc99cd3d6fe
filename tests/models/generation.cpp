#include <doctest/doctest.h>

#include <cmath>
#include <map>

#include "harness.hpp"
#include "models/generate.hpp"
#include "runtime/error.hpp"

using namespace troupe;
using namespace troupe::testing;

namespace {

/// The likeliest next token by a whole forward pass over the text.
std::int32_t likeliest_without_cache(rig& at, const std::vector<std::int32_t>& text) {
  const tensor tokens = make_host_tensor(dtype::int32, {1, static_cast<std::int64_t>(text.size())});
  std::copy(text.begin(), text.end(), tokens.mutable_data<std::int32_t>());
  at.p.training = false;
  at.forward({tokens, {}});
  const std::vector<double> logits = to_doubles(*at.on, at.p.logits);
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

TEST_CASE("generation with a cache is generation without") {
  for (transformer_settings settings : {tiny_gpt2(), tiny_llama()}) {
    settings.context = 24;
    const model of = make_transformer(settings);
    rig at(of, reference_device(), 21);
    std::vector<std::int32_t> text{3, 1, 4};
    std::vector<std::int32_t> generated;
    const std::int64_t count = generate(of, *at.on, at.p.parameters, text,
                                        {.sampling = {.temperature = 0.0}, .tokens_max = 20, .context = 24},
                                        [&](std::int32_t token) {
                                          generated.push_back(token);
                                          return true;
                                        });
    CHECK(count == 20);
    for (const std::int32_t token : generated) {
      CHECK(token == likeliest_without_cache(at, text));
      text.push_back(token);
    }
  }
}

TEST_CASE("logits with a cache agree in float64 with those without, prompt at once or token by token") {
  const transformer_settings settings = tiny_llama();
  const model of = make_transformer(settings);
  rig at(of, reference_device(), 22);
  const std::vector<std::int32_t> text{5, 2, 9, 11, 0, 7};
  decoder whole(of, *at.on, at.p.parameters, 7), by_token(of, *at.on, at.p.parameters, 7);
  const std::vector<float> expected = whole.advance(text);
  std::vector<float> found;
  for (const std::int32_t token : text)
    found = by_token.advance({&token, 1});
  CHECK(relative_error({found.begin(), found.end()}, {expected.begin(), expected.end()}) < 1e-6);
}

TEST_CASE("text that outgrows the context goes on from its last half") {
  const transformer_settings settings = tiny_gpt2();  // 7 positions
  const model of = make_transformer(settings);
  rig at(of, reference_device(), 23);
  const std::vector<std::int32_t> text{5, 2, 9, 11, 0, 7, 3, 8};
  decoder grows(of, *at.on, at.p.parameters, 7), half(of, *at.on, at.p.parameters, 7);
  std::vector<float> found;
  for (const std::int32_t token : text)
    found = grows.advance({&token, 1});
  CHECK(found == half.advance(std::span(text).last(3)));
  decoder at_once(of, *at.on, at.p.parameters, 7);
  CHECK(found == at_once.advance(text));
}

TEST_CASE("generation stops when told") {
  const transformer_settings settings = tiny_gpt2();
  const model of = make_transformer(settings);
  rig at(of, reference_device(), 24);
  const std::vector<std::int32_t> prompt{1};
  std::vector<std::int32_t> tokens;
  const auto collect = [&](std::size_t most) {
    tokens.clear();
    return [&tokens, most](std::int32_t token) {
      tokens.push_back(token);
      return tokens.size() < most;
    };
  };
  generation_settings chosen{.sampling = {.seed = 5}, .tokens_max = 30, .context = 7};
  CHECK(generate(of, *at.on, at.p.parameters, prompt, chosen, collect(4)) == 4);
  CHECK(generate(of, *at.on, at.p.parameters, prompt, chosen, collect(100)) == 30);
  const std::vector<std::int32_t> all = tokens;
  CHECK(generate(of, *at.on, at.p.parameters, prompt, chosen, collect(100)) == 30);
  CHECK(tokens == all);  // the same seed, the same text
  chosen.stop_token = all[5];
  const auto first = std::find(all.begin(), all.end(), chosen.stop_token) - all.begin();
  CHECK(generate(of, *at.on, at.p.parameters, prompt, chosen, collect(100)) == first);
  CHECK_THROWS_AS(generate(of, *at.on, at.p.parameters, {}, chosen, collect(1)), input_error);
  const std::vector<std::int32_t> unknown{19};
  CHECK_THROWS_AS(generate(of, *at.on, at.p.parameters, unknown, chosen, collect(1)), input_error);
}

TEST_CASE("samples follow the softmax") {
  const std::vector<float> logits{0.0f, 1.0f, 2.0f, -1.0f};
  for (const double temperature : {1.0, 0.5}) {
    const sampler sample({.temperature = temperature, .seed = 7});
    const std::vector<double> probabilities = sample.probabilities(logits);
    double total = 0.0;
    for (const float logit : logits)
      total += std::exp(logit / temperature);
    constexpr int draws = 20'000;
    std::map<std::int32_t, int> counts;
    for (std::uint64_t index = 0; index < draws; ++index)
      ++counts[sample.draw(logits, index)];
    for (std::size_t token = 0; token < logits.size(); ++token) {
      const double expected = std::exp(logits[token] / temperature) / total;
      CHECK(probabilities[token] == doctest::Approx(expected).epsilon(1e-9));
      const double deviation = std::sqrt(expected * (1 - expected) / draws);
      CHECK(std::abs(counts[static_cast<std::int32_t>(token)] / double{draws} - expected) < 5 * deviation);
    }
  }
}

TEST_CASE("top-k and top-p cut the tail and keep the ratios") {
  const std::vector<float> logits{std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.3f)};
  const auto check = [&](const sampling_settings& settings, const std::vector<double>& expected) {
    const std::vector<double> found = sampler(settings).probabilities(logits);
    for (std::size_t i = 0; i < expected.size(); ++i)
      CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-5));
  };
  check({.top_k = 2}, {0.0, 0.4 / 0.7, 0.0, 0.3 / 0.7});
  check({.top_k = 9}, {0.1, 0.4, 0.2, 0.3});
  check({.top_p = 0.65}, {0.0, 0.4 / 0.7, 0.0, 0.3 / 0.7});
  check({.top_p = 0.75}, {0.0, 0.4 / 0.9, 0.2 / 0.9, 0.3 / 0.9});
  check({.top_p = 0.01}, {0.0, 1.0, 0.0, 0.0});
  check({.top_k = 3, .top_p = 0.5}, {0.0, 0.4 / 0.7, 0.0, 0.3 / 0.7});
  check({.temperature = 0.0}, {0.0, 1.0, 0.0, 0.0});
  const std::vector<float> equal(5, 1.0f);
  CHECK(sampler({.top_k = 2}).probabilities(equal) == std::vector<double>{0.5, 0.5, 0.0, 0.0, 0.0});
  CHECK_THROWS_AS(sampler({.temperature = -1.0}), std::invalid_argument);
  CHECK_THROWS_AS(sampler({.top_k = -1}), std::invalid_argument);
  CHECK_THROWS_AS(sampler({.top_p = 0.0}), std::invalid_argument);
}
