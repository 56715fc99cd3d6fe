#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>

#include "models/mlp.hpp"
#include "models/transformer.hpp"

using namespace troupe;

TEST_CASE("the parameter space has no gaps and knows its blocks") {
  transformer_settings settings = transformer_settings::gpt2();
  settings.vocabulary = 50257;
  settings.context = 1024;
  settings.layers = 12;
  settings.heads = 12;
  settings.channels = 768;
  const model of = make_transformer(settings);
  CHECK(of.parameters().count() == 124'439'808);  // Radford et al.'s small model
  CHECK(of.block_count() == 14);
  std::int64_t next = 0;
  std::size_t block = 0;
  for (const parameter& which : of.parameters()) {
    CHECK(which.offset == next);
    CHECK(which.block >= block);
    CHECK(which.name.starts_with(of.block_name(which.block) + "."));
    CHECK(which.decays == (which.extents.rank() == 2));
    next += which.count();
    block = which.block;
  }
  CHECK(next == of.parameters().count());
  CHECK(of.parameters().find("head.weight") == of.parameters().size());
  const parameter& qkv = of.parameters()[of.parameters().find("blocks.3.attention.qkv.weight")];
  CHECK(qkv.extents == shape{3 * 768, 768});
  CHECK(qkv.block == 4);
  CHECK(qkv.kind == parameter_kind::matrix);
  CHECK(of.parameters()[of.parameters().find("embedding.token")].kind == parameter_kind::table);
  // 6 x (parameters that multiply) + 12 x layers x channels x context.
  CHECK(flops_per_token(settings) == 6.0 * (12 * 12 * 768 * 768 + 50257 * 768) + 12.0 * 12 * 768 * 1024);
}

TEST_CASE("Llama has the parameters of its paper") {
  transformer_settings settings = transformer_settings::llama();
  settings.vocabulary = 32000;
  settings.context = 2048;
  settings.layers = 32;
  settings.heads = 32;
  settings.channels = 4096;
  CHECK(resolved(settings).feed_forward_channels == 10944);  // 8/3 x 4096 in steps of 32
  settings.feed_forward_channels = 11008;
  const model of = make_transformer(settings);
  CHECK(of.parameters().count() == 6'738'415'616);  // Llama 2 7B
  CHECK(of.parameters().find("embedding.position") == of.parameters().size());
  CHECK(of.parameters()[of.parameters().find("head.weight")].extents == shape{32000, 4096});
}

TEST_CASE("initial values depend on seed and name alone, and have the stated spread") {
  const auto values_of = [](const char* name, std::uint64_t seed, initializer start) {
    std::vector<float> values(10'001);
    initialize({.name = name, .extents = {10'001}, .start = start}, seed, values);
    return values;
  };
  const std::vector<float> values = values_of("a", 1, initializer::normal(0.02));
  CHECK(values == values_of("a", 1, initializer::normal(0.02)));
  CHECK(values != values_of("b", 1, initializer::normal(0.02)));
  CHECK(values != values_of("a", 2, initializer::normal(0.02)));
  const auto mean_and_deviation = [](const std::vector<float>& of) {
    double sum = 0.0, square = 0.0;
    for (const double value : of) {
      sum += value;
      square += value * value;
    }
    const auto count = static_cast<double>(of.size());
    return std::pair{sum / count, std::sqrt(square / count)};
  };
  const auto [mean, deviation] = mean_and_deviation(values);
  CHECK(std::abs(mean) < 4 * 0.02 / 100);
  CHECK(deviation == doctest::Approx(0.02).epsilon(0.03));
  const auto [middle, spread] = mean_and_deviation(values_of("a", 1, initializer::uniform(0.5)));
  CHECK(std::abs(middle) < 0.012);
  CHECK(spread == doctest::Approx(0.5 / std::sqrt(3.0)).epsilon(0.03));
  CHECK(values_of("a", 1, initializer::ones()) == std::vector<float>(10'001, 1.0f));
  CHECK(values_of("a", 1, initializer::zeros()) == std::vector<float>(10'001, 0.0f));
}

TEST_CASE("impossible settings are named") {
  const auto message_of = [](auto change) -> std::string {
    transformer_settings settings = transformer_settings::llama();
    settings.vocabulary = 10;
    change(settings);
    try {
      make_transformer(settings);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "no error";
  };
  CHECK(message_of([](auto&) {}) == "no error");
  CHECK(message_of([](auto& s) { s.heads = 5; }) == "model.heads: 5 does not divide channels = 128");
  CHECK(message_of([](auto& s) { s.kv_heads = 3; }) == "model.kv_heads: 3 does not divide heads = 4");
  CHECK(message_of([](auto& s) { s.vocabulary = 0; }) == "model.vocabulary: found 0, expected a positive number");
  CHECK(message_of([](auto& s) { s.dropout = 1.0; }) ==
        "model.dropout: found 1, expected at least 0 and less than 1");
  CHECK(message_of([](auto& s) { s.channels = 12; }) ==
        "model.heads: rotary positions need an even head size, found channels / heads = 3");
  CHECK_THROWS_AS(make_mlp({.inputs = 0, .hidden = {3}, .classes = 2}), std::invalid_argument);
  CHECK_THROWS_AS(make_mlp({.inputs = 4, .hidden = {}, .classes = 2}), std::invalid_argument);
}

TEST_CASE("two parameters of one name are refused") {
  parameter_space space;
  space.add("a", {2}, initializer::zeros(), parameter_kind::vector);
  CHECK_THROWS_AS(space.add("a", {2}, initializer::zeros(), parameter_kind::vector), std::invalid_argument);
}
