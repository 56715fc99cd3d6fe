#include "harness.hpp"

#include <cmath>
#include <numeric>
#include <random>

#include <doctest/doctest.h>

#include "models/generate.hpp"

namespace troupe::testing {

transformer_settings tiny_gpt2() {
  transformer_settings settings = transformer_settings::gpt2();
  settings.vocabulary = 19;
  settings.context = 7;
  settings.layers = 2;
  settings.heads = 3;
  settings.channels = 12;
  settings.initial_deviation = 0.3;
  return settings;
}

transformer_settings tiny_llama() {
  transformer_settings settings = transformer_settings::llama();
  settings.vocabulary = 19;
  settings.context = 7;
  settings.layers = 2;
  settings.heads = 4;
  settings.kv_heads = 2;
  settings.channels = 24;
  settings.feed_forward_channels = 20;
  settings.initial_deviation = 0.3;
  return settings;
}

tensor to_tensor(stream& on, const std::vector<double>& values, shape extents) {
  const tensor host = make_host_tensor(dtype::float64, extents);
  std::copy(values.begin(), values.end(), host.mutable_data<double>());
  const tensor moved = on.to_device(host);
  const tensor result = on.allocate(extents);
  on.cast(moved, result);
  return result;
}

std::vector<double> to_doubles(stream& on, const tensor& values) {
  const tensor converted = on.allocate(dtype::float64, values.shape());
  on.cast(values, converted);
  const auto host = on.to_host(converted);
  return {host.elements<double>().begin(), host.elements<double>().end()};
}

batch random_batch(std::int64_t rows, std::int64_t time, std::int64_t vocabulary, std::uint64_t seed, bool masked) {
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<std::int32_t> token(0, static_cast<std::int32_t>(vocabulary) - 1);
  batch result{make_host_tensor(dtype::int32, {rows, time}), make_host_tensor(dtype::int32, {rows, time})};
  for (auto& value : result.tokens.mutable_elements<std::int32_t>())
    value = token(random);
  int position = 0;
  for (auto& value : result.targets.mutable_elements<std::int32_t>())
    value = masked && ++position % 5 == 0 ? -1 : token(random);
  return result;
}

namespace {

double as_held(double value, precision_kind precision) {
  const auto single = static_cast<float>(value);
  return precision == precision_kind::bfloat16 ? static_cast<float>(bfloat16(single)) : single;
}

}  // namespace

rig::rig(const model& of, device& device, std::uint64_t seed, const stream_options& options)
    : of(of), on(device.make_stream(options)), p(of, *on) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> noise(0.0, 0.1);
  for (std::size_t i = 0; i < of.parameters().size(); ++i) {
    const parameter& which = of.parameters()[i];
    std::vector<float> start(static_cast<std::size_t>(which.count()));
    initialize(which, seed, start);
    std::vector<double> values(start.begin(), start.end());
    for (double& value : values)
      value = as_held(value + noise(random), options.precision);
    p.parameters[i] = to_tensor(*on, values, which.extents);
    p.gradients[i] = on->allocate(on->accumulation_type(), which.extents);
  }
  zero_gradients();
}

void rig::zero_gradients() {
  for (const tensor& gradient : p.gradients)
    on->zero(gradient);
}

double rig::forward(const batch& input, random_key key) {
  p.begin(input, key);
  for (std::size_t block = 0; block < of.block_count(); ++block)
    of.forward(block, p);
  return input.targets ? p.loss_sum() : 0.0;
}

void rig::backward() {
  for (std::size_t block = of.block_count(); block-- > 0;)
    of.backward(block, p);
}

double rig::step(const batch& input, random_key key) {
  zero_gradients();
  const double loss = forward(input, key);
  backward();
  return loss;
}

namespace {

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

}  // namespace

double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
  double square = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i)
    square += (a[i] - b[i]) * (a[i] - b[i]);
  const double scale = dot(b, b);
  return std::sqrt(scale > 0.0 ? square / scale : square);
}

double cosine(const std::vector<double>& a, const std::vector<double>& b) {
  const double scale = std::sqrt(dot(a, a) * dot(b, b));
  return scale > 0.0 ? dot(a, b) / scale : 1.0;
}

namespace {

void check_step(device& on, precision_kind precision, const transformer_settings& settings, const batch& input,
                std::uint64_t seed) {
  CAPTURE(seed);
  const bool narrow = precision == precision_kind::bfloat16;
  const model of = make_transformer(settings);
  const random_key key{seed, 2};
  rig exact(of, reference_device(), seed, {.precision = precision}), fast(of, on, seed, {.precision = precision});
  const double expected = exact.step(input, key);
  CHECK(fast.step(input, key) == doctest::Approx(expected).epsilon(narrow ? 1e-3 : 1e-5));
  for (std::size_t i = 0; i < of.parameters().size(); ++i) {
    CAPTURE(of.parameters()[i].name);
    const std::vector<double> found = fast.gradient(i), wanted = exact.gradient(i);
    CHECK(relative_error(found, wanted) < (narrow ? 1e-2 : 2e-5));
    CHECK(cosine(found, wanted) > 1 - (narrow ? 1e-4 : 1e-9));
  }
}

}  // namespace

void check_gradients(device& fast, precision_kind precision) {
  for (transformer_settings settings : {tiny_gpt2(), tiny_llama()}) {
    check_step(fast, precision, settings, random_batch(3, 7, settings.vocabulary, 41, true), 42);
    settings.dropout = 0.1;
    check_step(fast, precision, settings, random_batch(2, 5, settings.vocabulary, 43), 44);
    settings.context = 70;
    settings.vocabulary = 301;
    check_step(fast, precision, settings, random_batch(2, 67, settings.vocabulary, 45), 46);
  }
}

void check_generation(device& on, precision_kind precision) {
  transformer_settings settings = tiny_gpt2();
  settings.context = 40;
  const model of = make_transformer(settings);
  rig at(of, on, 49, {.precision = precision});
  const batch text = random_batch(1, 37, settings.vocabulary, 50);
  decoder cached(of, *at.on, at.p.parameters, settings.context);
  std::vector<float> found;
  for (const std::int32_t& token : text.tokens.elements<std::int32_t>())
    found = cached.advance({&token, 1});
  at.p.training = false;
  at.forward({text.tokens, {}});
  CHECK(relative_error({found.begin(), found.end()}, to_doubles(*at.on, at.p.logits)) <
        (precision == precision_kind::bfloat16 ? 1e-2 : 1e-5));
}

}  // namespace troupe::testing
