// What a pass promises: masking, accumulation, recomputation, evaluation.

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <tuple>
#include <utility>

#include "harness.hpp"
#include "models/evaluation.hpp"
#include "runtime/error.hpp"

using namespace troupe;
using namespace troupe::testing;

namespace {

bool same_bits(const tensor& a, const tensor& b) {
  return a.size_bytes() == b.size_bytes() && std::memcmp(a.bytes(), b.bytes(), a.size_bytes()) == 0;
}

/// Rows first .. first + rows - 1.
batch part_of(const batch& whole, std::int64_t first, std::int64_t rows) {
  const std::int64_t time = whole.tokens.shape()[1];
  return {whole.tokens.slice(first * time, {rows, time}), whole.targets.slice(first * time, {rows, time})};
}

}  // namespace

TEST_CASE("recomputed activations give the same bits") {
  transformer_settings settings = tiny_gpt2();
  settings.dropout = 0.2;
  settings.layers = 3;
  const model of = make_transformer(settings);
  const batch input = random_batch(3, 6, settings.vocabulary, 1);
  for (device* on : {&cpu_device(), &reference_device()}) {
    CAPTURE(on->name());
    rig kept(of, *on, 2);
    const double loss = kept.step(input, {3, 4});
    for (const char* ranges : {"all", "0", "1-2", "0,2"}) {
      CAPTURE(ranges);
      rig recomputed(of, *on, 2);
      recomputed.p.recompute = parse_recompute(of, ranges);
      CHECK(recomputed.step(input, {3, 4}) == loss);
      for (std::size_t i = 0; i < of.parameters().size(); ++i)
        CHECK_MESSAGE(same_bits(recomputed.p.gradients[i], kept.p.gradients[i]), of.parameters()[i].name);
    }
  }
}

TEST_CASE("gradients accumulate over micro-batches to those of the whole batch") {
  const transformer_settings settings = tiny_llama();
  const model of = make_transformer(settings);
  const batch input = random_batch(4, 7, settings.vocabulary, 5, true);
  rig whole(of, reference_device(), 6);
  const double loss = whole.step(input);
  rig parts(of, reference_device(), 6);
  double sum = 0.0;
  std::int64_t targets = 0;
  for (std::int64_t row = 0; row < 4; row += 2) {
    sum += parts.forward(part_of(input, row, 2));
    targets += parts.p.target_count();
    parts.backward();
  }
  CHECK(sum == doctest::Approx(loss).epsilon(1e-12));
  CHECK(targets == 4 * 7 - 5);
  for (std::size_t i = 0; i < of.parameters().size(); ++i)
    CHECK_MESSAGE(relative_error(parts.gradient(i), whole.gradient(i)) < 1e-12, of.parameters()[i].name);
}

TEST_CASE("empty gradients stand for zeros") {
  for (transformer_settings settings : {tiny_gpt2(), tiny_llama()}) {
    const model of = make_transformer(settings);
    const batch input = random_batch(2, 7, settings.vocabulary, 15);
    for (device* on : {&cpu_device(), &reference_device()}) {
      rig zeroed(of, *on, 16), fresh(of, *on, 16);
      for (tensor& gradient : fresh.p.gradients)
        gradient = {};
      // The second batch adds to what the first one left.
      for (int micro_batch = 0; micro_batch < 2; ++micro_batch)
        for (rig* at : {&zeroed, &fresh}) {
          at->forward(input);
          at->backward();
        }
      for (std::size_t i = 0; i < of.parameters().size(); ++i)
        CHECK_MESSAGE(relative_error(fresh.gradient(i), zeroed.gradient(i)) < 1e-6, of.parameters()[i].name);
    }
  }
}

TEST_CASE("what stands at a masked target changes nothing") {
  const transformer_settings settings = tiny_gpt2();
  const model of = make_transformer(settings);
  batch input = random_batch(1, 7, settings.vocabulary, 7);
  input.targets.mutable_data<std::int32_t>()[6] = -1;
  rig at(of, reference_device(), 8);
  const double whole = at.forward(input);
  // The last position only predicts; without it the other losses are the same.
  CHECK(at.p.target_count() == 6);
  const batch shorter{input.tokens.slice(0, {1, 6}), input.targets.slice(0, {1, 6})};
  CHECK(at.forward(shorter) == doctest::Approx(whole).epsilon(1e-12));
}

TEST_CASE("dropout follows its key and rests in evaluation") {
  transformer_settings settings = tiny_gpt2();
  settings.dropout = 0.5;
  const model of = make_transformer(settings);
  const batch input = random_batch(2, 7, settings.vocabulary, 9);
  rig at(of, reference_device(), 10);
  const double first = at.forward(input, {1, 1});
  CHECK(at.forward(input, {1, 1}) == first);
  CHECK(at.forward(input, {1, 2}) != first);
  at.p.training = false;
  const double evaluated = at.forward(input, {1, 1});
  CHECK(at.forward(input, {1, 2}) == evaluated);
  settings.dropout = 0.0;
  const model undropped = make_transformer(settings);
  CHECK(rig(undropped, reference_device(), 10).forward(input) == evaluated);
}

TEST_CASE("evaluation keeps no activations") {
  transformer_settings settings = tiny_gpt2();
  settings.layers = 8;
  const model of = make_transformer(settings);
  const batch input = random_batch(8, 7, settings.vocabulary, 11);
  device& on = reference_device();
  rig at(of, on, 12);
  const auto in_use_after = [&](bool training) {
    at.p.training = training;
    at.p.begin(input, {});
    const std::size_t before = on.memory().in_use_bytes;
    for (std::size_t block = 0; block + 1 < of.block_count(); ++block)
      of.forward(block, at.p);
    return on.memory().in_use_bytes - before;
  };
  const std::size_t one_activation = 8 * 7 * 12 * sizeof(double);
  CHECK(in_use_after(false) < 2 * one_activation);
  CHECK(in_use_after(true) > 8 * 10 * one_activation);
}

TEST_CASE("without targets a pass gives the logits of each sequence's last row") {
  const transformer_settings settings = tiny_llama();
  const model of = make_transformer(settings);
  const batch input = random_batch(3, 6, settings.vocabulary, 13);
  rig at(of, reference_device(), 14);
  at.p.training = false;
  at.forward({input.tokens, {}});
  REQUIRE(at.p.logits.shape() == shape{3, settings.vocabulary});
  const std::vector<double> logits = to_doubles(*at.on, at.p.logits);
  // The loss at the last position is log-sum-exp minus the target's logit.
  batch last = random_batch(3, 6, settings.vocabulary, 13);
  for (std::int64_t i = 0; i < last.targets.count(); ++i)
    if (i % 6 != 5)
      last.targets.mutable_data<std::int32_t>()[i] = -1;
  double expected = 0.0;
  for (std::int64_t row = 0; row < 3; ++row) {
    const double* from = logits.data() + row * settings.vocabulary;
    double sum = 0.0;
    for (std::int64_t v = 0; v < settings.vocabulary; ++v)
      sum += std::exp(from[v]);
    expected += std::log(sum) - from[last.targets.data<std::int32_t>()[row * 6 + 5]];
  }
  CHECK(at.forward(last) == doctest::Approx(expected).epsilon(1e-12));
}

TEST_CASE("recompute ranges count transformer blocks") {
  transformer_settings settings = tiny_gpt2();
  settings.layers = 5;
  const model of = make_transformer(settings);
  const auto chosen = [&](const char* ranges) {
    std::string blocks;
    const std::vector<bool> flags = parse_recompute(of, ranges);
    for (std::size_t block = 0; block < flags.size(); ++block)
      if (flags[block])
        blocks += of.block_name(block) + " ";
    return blocks;
  };
  CHECK(chosen("none") == "");
  CHECK(chosen("all") == "blocks.0 blocks.1 blocks.2 blocks.3 blocks.4 ");
  CHECK(chosen("3") == "blocks.3 ");
  CHECK(chosen("0-1, 4") == "blocks.0 blocks.1 blocks.4 ");
  for (const char* bad : {"", "5", "3-1", "a", "0-", "-1", "0,,1", "0-1x", "99999999999999999999"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(parse_recompute(of, bad), input_error);
  }
}

TEST_CASE("the loss of a split is the mean over all its windows, however many make a batch") {
  const transformer_settings settings = tiny_gpt2();
  const model of = make_transformer(settings);
  rig at(of, reference_device(), 10);
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < 400; ++i)
    tokens.push_back(static_cast<std::int32_t>(i * i % settings.vocabulary));
  const auto data = make_token_dataset(tokens, settings.vocabulary, 0.25);
  constexpr std::int64_t context = 6;
  const auto windows = static_cast<std::uint64_t>(data->sample_count(split::validation, context));
  REQUIRE(windows == 16);
  const auto measure = [&](std::uint64_t samples, std::int64_t rows, std::int64_t long_context) {
    loss_measurement measured(of, at.p.on, at.p.parameters, *data, split::validation, 1, samples, rows, long_context);
    int batches = 0;
    for (; !measured.done(); ++batches)
      measured.measure_batch();
    return std::tuple(measured.mean(), measured.targets(), batches);
  };
  const auto [loss, targets, batches] = measure(windows, 16, context);
  CHECK(targets == 16 * context);
  CHECK(batches == 1);
  for (const auto& [rows, expected] : {std::pair(1, 16), std::pair(5, 4), std::pair(100, 1)}) {
    const auto [same, as_many, others] = measure(windows, rows, context);
    CHECK(same == doctest::Approx(loss).epsilon(1e-12));
    CHECK(as_many == targets);
    CHECK(others == expected);
  }
  CHECK(std::isnan(std::get<0>(measure(windows, 16, 100))));  // no window fits
}
