#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <set>
#include <utility>
#include <vector>

#include "runtime/tensor/random.hpp"

namespace troupe::tests {

TEST_CASE("Philox gives the known answers that Random123 publishes") {
  constexpr std::uint32_t ones = 0xffffffff;
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == philox_block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({ones, ones, ones, ones}, {ones, ones}) == philox_block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        philox_block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a key's sequence is Philox in counter order, and an element has one word of it") {
  const random_key key{0x0123456789abcdef, 0xfedcba9876543210};
  const philox_block block = random_block(key, 0x500000007);
  CHECK(block == philox({7, 5, 0x76543210, 0xfedcba98}, {0x89abcdef, 0x01234567}));
  for (std::uint64_t lane = 0; lane < 4; ++lane)
    CHECK(random_word(key, 4 * 0x500000007 + lane) == block[lane]);
}

TEST_CASE("folding gives keys that all differ, and depend on the order") {
  std::set<std::pair<std::uint64_t, std::uint64_t>> seen;
  const random_key root{1, 0};
  for (std::uint64_t i = 0; i < 50; ++i) {
    for (std::uint64_t j = 0; j < 50; ++j) {
      const random_key key = root.fold(i).fold(j);
      seen.emplace(key.high, key.low);
    }
  }
  CHECK(seen.size() == 2500);
  // A key is no value of its parent's sequence: else what was drawn would tell what will be.
  const philox_block values = random_block(root, 7);
  CHECK(static_cast<std::uint32_t>(root.fold(7).high) != values[0]);
}

TEST_CASE("uniform values fill [0, 1) evenly") {
  CHECK(uniform(0) == 0.0f);
  CHECK(uniform(0xffffffff) == 1.0f - 0x1p-24f);
  std::vector<int> histogram(64);
  const std::uint64_t draws = 64000;
  for (std::uint64_t i = 0; i < draws; ++i)
    ++histogram[static_cast<std::size_t>(uniform(random_word({42, 0}, i)) * 64)];
  double chi_square = 0;
  for (const int count : histogram)
    chi_square += (count - 1000.0) * (count - 1000.0) / 1000.0;
  CHECK(chi_square < 103.4);  // 63 degrees of freedom: 1 in 1000
}

TEST_CASE("dropout drops with its probability, exactly at the ends") {
  CHECK(dropout_threshold(0.0) == 0);
  CHECK(dropout_threshold(0.5) == 0x80000000);
  int dropped = 0;
  for (std::uint64_t i = 0; i < 100000; ++i)
    dropped += random_word({9, 9}, i) < dropout_threshold(0.1) ? 1 : 0;
  CHECK(std::abs(dropped - 10000) < 4 * 95);  // four standard deviations
}

TEST_CASE("stochastic rounding gives the neighbours, and on average the value") {
  constexpr int count = 40'000;
  for (const float value : {1.001f, -3.14159f, 1e-30f, 2.0f}) {
    CAPTURE(value);
    const float nearest = static_cast<float>(bfloat16(value));
    const float spacing = std::ldexp(1.0f, std::ilogb(value) - 7);
    double sum = 0.0;
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto rounded = static_cast<float>(round_stochastic(value, random_word({5, 6}, i)));
      CHECK(std::abs(rounded - value) < spacing);
      sum += rounded;
    }
    CHECK(std::abs(sum / count - value) <= 3 * 0.5 * spacing / std::sqrt(count));
    CHECK((value != nearest || sum / count == value));
  }
  CHECK(std::isinf(static_cast<float>(round_stochastic(INFINITY, ~0u))));
  CHECK(std::isnan(static_cast<float>(round_stochastic(NAN, ~0u))));
}

TEST_CASE("normal values are Box and Muller's, to the last bits of a float") {
  for (std::uint64_t i = 0; i < 10000; ++i) {
    const philox_block words = random_block({3, 4}, i);
    const std::array<float, 4> values = normals(words);
    for (std::size_t pair = 0; pair < 4; pair += 2) {
      const double radius = std::sqrt(-2 * std::log((words[pair] + 1.0) / 4294967296.0));
      const double angle = 2 * std::numbers::pi * words[pair + 1] / 4294967296.0;
      CHECK(values[pair] == doctest::Approx(radius * std::cos(angle)).epsilon(1e-7));
      CHECK(values[pair + 1] == doctest::Approx(radius * std::sin(angle)).epsilon(1e-7));
    }
  }
}

TEST_CASE("normal values stay finite at the ends of the words") {
  for (const std::uint32_t first : {0u, 1u, 0x7fffffffu, 0x80000000u, 0xffffffffu})
    for (const std::uint32_t second : {0u, 0x1fffffffu, 0x20000000u, 0x7fffffffu, 0x80000000u, 0xffffffffu})
      for (const float value : normals({first, second, first, second}))
        CHECK(std::abs(value) < 6.7f);  // sqrt(2 ln 2^32) = 6.66
}

TEST_CASE("normal values have the moments of the normal distribution, and the same bits everywhere") {
  double sum = 0, squares = 0, fourths = 0;
  const int blocks = 100000, draws = 4 * blocks;
  for (int i = 0; i < blocks; ++i) {
    for (const double value : normals(random_block({5, 6}, static_cast<std::uint64_t>(i)))) {
      sum += value;
      squares += value * value;
      fourths += value * value * value * value;
    }
  }
  CHECK(std::abs(sum / draws) < 4 / std::sqrt(draws));
  CHECK(std::abs(squares / draws - 1) < 4 * std::sqrt(2.0 / draws));
  CHECK(std::abs(fourths / draws - 3) < 4 * std::sqrt(96.0 / draws));
  // Initial weights depend on these bits: what changes them makes old seeds mean something else.
  CHECK(normals(random_block({0, 0}, 0)) ==
        std::array<float, 4>{0x1.fb7666p-1f, -0x1.d96d6p-1f, -0x1.3c373ep-1f, -0x1.eda364p-2f});
}

}  // namespace troupe::tests
