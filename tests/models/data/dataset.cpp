#include "models/data/dataset.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "tests/models/data/expect_error.hpp"

using namespace troupe;

namespace {

std::vector<std::int32_t> counting(std::int32_t count) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

}  // namespace

TEST_CASE("tokens in memory: splits, samples and batches") {
  const auto data = make_token_dataset(counting(1000), 1000);
  CHECK(data->tokens() == nullptr);
  CHECK(data->vocabulary() == 1000);
  CHECK(data->token_count(split::train) == 900);
  CHECK(data->token_count(split::validation) == 100);
  CHECK(data->sample_count(split::train, 9) == 99);
  CHECK(data->sample_count(split::validation, 9) == 11);
  CHECK(data->sample_count(split::validation, 99) == 1);
  CHECK(data->sample_count(split::validation, 100) == 0);

  const batch read = read_batch(*data, split::train, 7, 3, 4, 9);
  CHECK(describe(read.tokens) == "int32[4, 9]");
  CHECK(describe(read.targets) == "int32[4, 9]");
  for (std::int64_t row = 0; row < 4; ++row) {
    std::vector<std::int32_t> tokens(9), targets(9);
    data->sample(split::train, 7, 3 + static_cast<std::uint64_t>(row), 9, tokens, targets);
    for (std::size_t i = 0; i < 9; ++i) {
      CHECK(targets[i] == tokens[i] + 1);
      CHECK(read.tokens.elements<std::int32_t>()[static_cast<std::size_t>(row) * 9 + i] == tokens[i]);
      CHECK(read.targets.elements<std::int32_t>()[static_cast<std::size_t>(row) * 9 + i] == targets[i]);
    }
    CHECK(targets.back() < 900);
  }
}

TEST_CASE("validation samples do not depend on the seed and stay in their split") {
  const auto data = make_token_dataset(counting(1000), 1000);
  for (std::uint64_t index = 0; index < 30; ++index) {
    std::vector<std::int32_t> a(9), b(9), targets(9);
    data->sample(split::validation, 1, index, 9, a, targets);
    data->sample(split::validation, 2, index, 9, b, targets);
    CHECK(a == b);
    CHECK(a.front() >= 900);
  }
}

TEST_CASE("fingerprints tell tokens, vocabulary, split and order apart") {
  const auto base = make_token_dataset(counting(100), 100)->fingerprint();
  CHECK(base.size() == 32);
  CHECK(make_token_dataset(counting(100), 100)->fingerprint() == base);
  auto other = counting(100);
  std::swap(other[3], other[4]);
  CHECK(make_token_dataset(other, 100)->fingerprint() != base);
  CHECK(make_token_dataset(counting(100), 101)->fingerprint() != base);
  CHECK(make_token_dataset(counting(100), 100, 0.2)->fingerprint() != base);
  const auto with_replacement = data_settings::order_kind::with_replacement;
  CHECK(make_token_dataset(counting(100), 100, 0.1, with_replacement)->fingerprint() != base);
}

TEST_CASE("tokens in memory are checked") {
  CHECK(contains(message_of([] { make_token_dataset({0, 1, 5}, 5); }), "token 2 is 5, expected 0 .. 4"));
  CHECK(contains(message_of([] { make_token_dataset({0, -1}, 5); }), "token 1 is -1"));
  CHECK(contains(message_of([] { make_token_dataset({0, 1}, 5, 1.0); }), "validation_fraction"));
  CHECK(contains(message_of([] { make_token_dataset({0, 1}, 5, -0.5); }), "validation_fraction"));
  const auto data = make_token_dataset(counting(10), 10);
  CHECK(contains(message_of([&] { read_batch(*data, split::validation, 1, 0, 1, 4); }),
                 "the validation split has 1 tokens, but a sample of context 4 needs 5"));
}
