#pragma once

#include <cstring>
#include <filesystem>
#include <random>
#include <string>

#include "models/formats/huggingface.hpp"
#include "models/transformer.hpp"
#include "tests/files.hpp"
#include "tests/scratch_folder.hpp"

namespace formats_test {

namespace fs = std::filesystem;

using troupe::read_file;
using troupe::scratch_folder;
using troupe::write_file;

inline bool same(const troupe::tensor& a, const troupe::tensor& b) {
  return a.type() == b.type() && a.shape() == b.shape() && std::memcmp(a.bytes(), b.bytes(), a.size_bytes()) == 0;
}

/// No two extents are equal, so that a mistaken one shows.
inline troupe::transformer_settings small_gpt2() {
  auto settings = troupe::transformer_settings::gpt2();
  settings.vocabulary = 53;
  settings.context = 17;
  settings.layers = 2;
  settings.heads = 3;
  settings.channels = 24;
  settings.feed_forward_channels = 40;
  return settings;
}

inline troupe::transformer_settings small_llama() {
  auto settings = troupe::transformer_settings::llama();
  settings.vocabulary = 53;
  settings.context = 17;
  settings.layers = 2;
  settings.heads = 4;
  settings.channels = 32;
  settings.feed_forward_channels = 48;
  return settings;
}

/// A model with random values, so large that every path matters.
inline troupe::pretrained random_model(const troupe::transformer_settings& settings, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.2f);
  troupe::pretrained out;
  out.settings = troupe::resolved(settings);
  const auto model = troupe::make_transformer(settings);
  for (const auto& each : model.parameters()) {
    auto value = troupe::make_host_tensor(troupe::dtype::float32, each.extents);
    for (auto& x : value.mutable_elements<float>())
      x = normal(random) + (each.start.distribution == troupe::initializer::kind::ones ? 1.0f : 0.0f);
    out.parameters.push_back({each.name, value});
  }
  return out;
}

}  // namespace formats_test
