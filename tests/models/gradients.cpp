// Whole models on the float64 reference device, held against finite differences.

#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "harness.hpp"
#include "models/mlp.hpp"

using namespace troupe;
using namespace troupe::testing;

namespace {

/// Along a random direction in each parameter tensor, the gradient's slope must be that of the loss.
void check_gradients(const model& of, const batch& input, std::uint64_t seed) {
  CAPTURE(seed);
  const random_key key{seed, 1};
  rig at(of, reference_device(), seed);
  at.step(input, key);
  const std::vector<tensor> gradients = at.p.gradients;
  for (tensor& scratch : at.p.gradients)
    scratch = at.on->allocate(scratch.shape());  // forward passes of a head write gradients too

  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  for (std::size_t i = 0; i < of.parameters().size(); ++i) {
    CAPTURE(of.parameters()[i].name);
    const std::vector<double> gradient = to_doubles(*at.on, gradients[i]);
    const std::span<double> values = at.p.parameters[i].mutable_elements<double>();
    const std::vector<double> start(values.begin(), values.end());
    std::vector<double> direction(start.size());
    double slope = 0.0, scale = 0.0;
    for (std::size_t k = 0; k < direction.size(); ++k) {
      direction[k] = normal(random);
      slope += gradient[k] * direction[k];
      scale += gradient[k] * gradient[k];
    }
    REQUIRE(scale > 0.0);  // a gradient that is all zero would agree with a path that is not there
    const auto loss_at = [&](double distance) {
      for (std::size_t k = 0; k < direction.size(); ++k)
        values[k] = start[k] + distance * direction[k];
      return at.forward(input, key);
    };
    constexpr double distance = 1e-5;
    const double measured = (loss_at(distance) - loss_at(-distance)) / (2 * distance);
    std::copy(start.begin(), start.end(), values.begin());
    CHECK(std::abs(measured - slope) <= 1e-6 * std::sqrt(scale * static_cast<double>(direction.size())));
  }
}

}  // namespace

TEST_CASE("gradients of GPT-2 agree with finite differences") {
  const transformer_settings settings = tiny_gpt2();
  check_gradients(make_transformer(settings), random_batch(2, 7, settings.vocabulary, 3), 11);
}

TEST_CASE("gradients of GPT-2 without biases and with another activation agree with finite differences") {
  transformer_settings settings = tiny_gpt2();
  settings.bias = false;
  settings.tied_head = false;
  for (const auto kind : {transformer_settings::feed_forward_kind::gelu, transformer_settings::feed_forward_kind::silu,
                          transformer_settings::feed_forward_kind::relu}) {
    settings.feed_forward = kind;
    check_gradients(make_transformer(settings), random_batch(2, 5, settings.vocabulary, 4), 12);
  }
}

TEST_CASE("gradients of Llama with grouped queries agree with finite differences") {
  const transformer_settings settings = tiny_llama();
  check_gradients(make_transformer(settings), random_batch(2, 7, settings.vocabulary, 5), 13);
}

TEST_CASE("gradients with dropout agree with finite differences under the same key") {
  transformer_settings settings = tiny_gpt2();
  settings.dropout = 0.3;
  check_gradients(make_transformer(settings), random_batch(2, 7, settings.vocabulary, 6), 14);
}

TEST_CASE("gradients with masked targets agree with finite differences") {
  const transformer_settings settings = tiny_llama();
  check_gradients(make_transformer(settings), random_batch(3, 7, settings.vocabulary, 7, true), 15);
}

TEST_CASE("gradients of a multi-layer perceptron agree with finite differences") {
  const model of = make_mlp({.inputs = 5, .hidden = {7, 6}, .classes = 3, .nonlinearity = activation::gelu});
  const batch input{make_host_tensor(dtype::float32, {9, 5}), make_host_tensor(dtype::int32, {9})};
  std::mt19937_64 random(8);
  std::normal_distribution<float> normal;
  for (float& feature : input.tokens.mutable_elements<float>())
    feature = normal(random);
  int row = 0;
  for (std::int32_t& target : input.targets.mutable_elements<std::int32_t>())
    target = row++ % 3;
  check_gradients(of, input, 16);
}
