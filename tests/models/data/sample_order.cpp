#include "models/data/sample_order.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

using namespace troupe;

namespace {

/// Starts of samples first .. first + count - 1.
template <class F>
std::vector<std::int64_t> starts(F order, std::int64_t tokens, std::int64_t context, std::uint64_t seed,
                                 std::uint64_t first, std::int64_t count) {
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < count; ++i)
    all.push_back(order(tokens, context, seed, first + static_cast<std::uint64_t>(i)));
  return all;
}

/// Pearson's statistic of a histogram against equal frequencies.
double chi_squared(const std::vector<int>& histogram) {
  const double expected =
    std::accumulate(histogram.begin(), histogram.end(), 0.0) / static_cast<double>(histogram.size());
  double sum = 0;
  for (const int n : histogram)
    sum += (n - expected) * (n - expected) / expected;
  return sum;
}

}  // namespace

TEST_CASE("a permutation takes every value once, for sizes around powers of two and others") {
  const std::vector<std::uint64_t> sizes{1,  2,  3,   4,   5,   7,    8,    9,    15,   16,
                                         17, 63, 64,  65,  255, 256,  257,  1000, 4096, 4097, 65537};
  for (const std::uint64_t size : sizes)
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      CAPTURE(size);
      CAPTURE(seed);
      const permutation shuffled(size, {seed, 0});
      std::vector<bool> seen(size);
      for (std::uint64_t i = 0; i < size; ++i) {
        const std::uint64_t to = shuffled(i);
        REQUIRE(to < size);
        REQUIRE_FALSE(seen[to]);
        seen[to] = true;
      }
    }
}

TEST_CASE("a permutation of a huge range stays inside it and is not the identity") {
  const std::uint64_t size = (std::uint64_t{1} << 62) - 12345;
  const permutation shuffled(size, {1, 2});
  std::vector<std::uint64_t> to;
  for (std::uint64_t i = 0; i < 1000; ++i)
    to.push_back(shuffled(size - 1 - i));
  CHECK(*std::max_element(to.begin(), to.end()) < size);
  std::sort(to.begin(), to.end());
  CHECK(std::adjacent_find(to.begin(), to.end()) == to.end());
  CHECK(to.front() < size / 100);  // of a thousand values, some are small
}

TEST_CASE("permutations under other keys put any value at any place equally often") {
  for (const std::uint64_t size : {3, 10, 100}) {
    CAPTURE(size);
    const int keys = 2000;
    std::vector<int> first(size), last(size);
    int together = 0;  // neighbours that stay neighbours
    for (int key = 0; key < keys; ++key) {
      const permutation shuffled(size, {static_cast<std::uint64_t>(key), 7});
      ++first[shuffled(0)];
      ++last[shuffled(size - 1)];
      together += shuffled(0) + 1 == shuffled(1);
    }
    // Mean size - 1, standard deviation sqrt(2 (size - 1)): six deviations.
    const double bound = static_cast<double>(size - 1) + 6 * std::sqrt(2.0 * static_cast<double>(size - 1));
    CHECK(chi_squared(first) < bound);
    CHECK(chi_squared(last) < bound);
    const double expected = static_cast<double>(keys) / static_cast<double>(size);
    CHECK(std::abs(together - expected) < 6 * std::sqrt(expected));
  }
}

TEST_CASE("P4: without replacement, every window of every epoch comes exactly once") {
  for (const std::int64_t tokens : {2, 9, 17, 64, 65, 1000, 1003})
    for (const std::int64_t context : {1, 3, 8, 64, 999}) {
      if (tokens <= context)
        continue;
      const std::int64_t windows = sample_order::windows(tokens, context);
      for (std::uint64_t seed : {1, 2})
        for (std::uint64_t epoch : {0, 1, 2, 1'000'000}) {
          CAPTURE(tokens);
          CAPTURE(context);
          CAPTURE(seed);
          CAPTURE(epoch);
          auto all = starts(sample_order::without_replacement, tokens, context, seed,
                            epoch * static_cast<std::uint64_t>(windows), windows);
          std::sort(all.begin(), all.end());
          REQUIRE(all.front() >= 0);
          REQUIRE(all.back() + context + 1 <= tokens);
          for (std::size_t i = 1; i < all.size(); ++i)
            REQUIRE(all[i] == all[i - 1] + context);
          // What is left out is less than two windows.
          REQUIRE(windows * context > tokens - 2 * context - 1);
        }
    }
}

TEST_CASE("epochs and seeds give other orders, and begin at other tokens") {
  const std::int64_t tokens = 10'000, context = 64, windows = sample_order::windows(tokens, context);
  const auto epoch = [&](std::uint64_t seed, std::uint64_t number) {
    return starts(sample_order::without_replacement, tokens, context, seed,
                  number * static_cast<std::uint64_t>(windows), windows);
  };
  CHECK(epoch(1, 0) == epoch(1, 0));
  CHECK(epoch(1, 0) != epoch(1, 1));
  CHECK(epoch(1, 0) != epoch(2, 0));
  std::vector<bool> phases(context);
  for (std::uint64_t number = 0; number < 1000; ++number) {
    const auto first = sample_order::without_replacement(tokens, context, 1, number * windows);
    phases[static_cast<std::size_t>(first % context)] = true;
  }
  CHECK(std::count(phases.begin(), phases.end(), true) == context);
}

TEST_CASE("with replacement, samples begin anywhere, equally often, and never past the last target") {
  const std::int64_t tokens = 50, context = 10;
  std::vector<int> histogram(tokens - context);
  for (std::uint64_t i = 0; i < 40'000; ++i)
    ++histogram.at(static_cast<std::size_t>(sample_order::with_replacement(tokens, context, 3, i)));
  CHECK(chi_squared(histogram) < 39 + 6 * std::sqrt(2.0 * 39));
}

TEST_CASE("evaluation reads every window once, and any first few of them evenly") {
  for (const std::int64_t windows : {1, 2, 3, 5, 8, 13, 100, 101, 1742, 4096}) {
    const std::int64_t context = 7, tokens = windows * context + 1;
    REQUIRE(sample_order::evaluation_windows(tokens, context) == windows);
    std::vector<std::int64_t> all;
    for (std::int64_t i = 0; i < windows; ++i)
      all.push_back(sample_order::evaluation(tokens, context, static_cast<std::uint64_t>(i)) / context);
    auto sorted = all;
    std::sort(sorted.begin(), sorted.end());
    for (std::int64_t i = 0; i < windows; ++i)
      REQUIRE(sorted[static_cast<std::size_t>(i)] == i);
    CHECK(sample_order::evaluation(tokens, context, static_cast<std::uint64_t>(windows)) == all[0] * context);

    // Of n samples, the largest gap is less than three times the mean one.
    for (std::int64_t n = 4; n <= windows; n = n * 3 / 2) {
      CAPTURE(windows);
      CAPTURE(n);
      std::vector<std::int64_t> some(all.begin(), all.begin() + n);
      std::sort(some.begin(), some.end());
      std::int64_t gap = some.front() + windows - some.back();
      for (std::size_t i = 1; i < some.size(); ++i)
        gap = std::max(gap, some[i] - some[i - 1]);
      CHECK(static_cast<double>(gap) < 3.0 * static_cast<double>(windows) / static_cast<double>(n) + 2);
    }
  }
}
