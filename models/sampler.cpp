#include "models/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include <fmt/format.h>

#include "runtime/tensor/random.hpp"

namespace troupe {

namespace {

void require(bool holds, const char* name, double found, const char* expected) {
  if (!holds)
    throw std::invalid_argument(fmt::format("{}: found {}, expected {}", name, found, expected));
}

/// Uniform in [0, 1), a multiple of 2^-53.
double uniform_at(std::uint64_t seed, std::uint64_t index) {
  const philox_block words = random_block(random_key{seed, 0}, index);
  return static_cast<double>((words[0] | std::uint64_t{words[1]} << 32) >> 11) * 0x1p-53;
}

}  // namespace

sampler::sampler(const sampling_settings& settings) : settings_(settings) {
  require(settings.temperature >= 0.0 && std::isfinite(settings.temperature), "temperature", settings.temperature,
          "0 or more");
  require(settings.top_k >= 0, "top_k", static_cast<double>(settings.top_k), "0 or more");
  require(settings.top_p > 0.0 && settings.top_p <= 1.0, "top_p", settings.top_p, "more than 0 and at most 1");
}

std::vector<double> sampler::probabilities(std::span<const float> logits) const {
  std::vector<double> result(logits.size(), 0.0);
  if (settings_.temperature == 0.0) {
    result[static_cast<std::size_t>(std::ranges::max_element(logits) - logits.begin())] = 1.0;
    return result;
  }
  const double highest = *std::ranges::max_element(logits);
  // The tokens in question, likeliest first; equal ones in order of their ids.
  std::vector<std::size_t> tokens(logits.size());
  std::iota(tokens.begin(), tokens.end(), std::size_t{0});
  if (settings_.top_k > 0 || settings_.top_p < 1.0) {
    const auto kept = settings_.top_k > 0 ? std::min(static_cast<std::size_t>(settings_.top_k), tokens.size())
                                          : tokens.size();
    std::ranges::partial_sort(tokens, tokens.begin() + static_cast<std::ptrdiff_t>(kept), [&](auto a, auto b) {
      return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
    });
    tokens.resize(kept);
  }
  double total = 0.0;
  for (const std::size_t token : tokens)
    total += result[token] = std::exp((static_cast<double>(logits[token]) - highest) / settings_.temperature);
  if (settings_.top_p < 1.0) {
    double sum = 0.0;
    auto next = tokens.begin();
    while (next != tokens.end() && sum < settings_.top_p * total)
      sum += result[*next++];
    for (; next != tokens.end(); ++next)
      result[*next] = 0.0;
    total = sum;
  }
  for (double& probability : result)
    probability /= total;
  return result;
}

std::int32_t sampler::draw(std::span<const float> logits, std::uint64_t index) const {
  const std::vector<double> weights = probabilities(logits);
  const double target = uniform_at(settings_.seed, index);
  double sum = 0.0;
  std::size_t last = 0;  // where rounding leaves the sum below the target
  for (std::size_t token = 0; token < weights.size(); ++token) {
    if (weights[token] == 0.0)
      continue;
    last = token;
    if ((sum += weights[token]) > target)
      break;
  }
  return static_cast<std::int32_t>(last);
}

}  // namespace troupe
