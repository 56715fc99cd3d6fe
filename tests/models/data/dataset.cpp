#include "models/data/dataset.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <map>
#include <numeric>

#include "tests/models/data/expect_error.hpp"
#include "tests/models/data/temporary_folder.hpp"

using namespace troupe;

namespace {

std::vector<std::int32_t> counting(std::int32_t count) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

data_settings settings_for(const std::string& path, const temporary_folder& folder) {
  data_settings settings;
  settings.path = path;
  settings.cache = folder / "cache";
  return settings;
}

/// All tokens of a split: one sample can hold them.
std::vector<std::int32_t> tokens_of(const dataset& data, split part) {
  const auto count = static_cast<std::size_t>(data.token_count(part));
  std::vector<std::int32_t> tokens(count - 1), targets(count - 1);
  data.sample(part, 0, 0, static_cast<std::int64_t>(count) - 1, tokens, targets);
  tokens.push_back(targets.back());
  return tokens;
}

std::string text_of(const dataset& data, split part) {
  return data.tokens()->decode(tokens_of(data, part));
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
  CHECK(make_token_dataset(counting(100), 100, 0.1, data_settings::order_kind::with_replacement)->fingerprint() != base);
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

TEST_CASE("a text file: tokenised once, then read from the cache") {
  const temporary_folder folder;
  std::string text;
  for (int i = 0; i < 1000; ++i)
    text += "line " + std::to_string(i) + "\n";
  const auto settings = settings_for(folder.write("corpus.txt", text), folder);

  double last = 0;
  const auto data = open_dataset(settings, 16, [&](double done) {
    CHECK(done >= last);
    last = done;
  });
  CHECK(last == 1.0);
  CHECK(data->vocabulary() == 16);  // digits, space, newline, e i l n
  CHECK(data->token_count(split::train) + data->token_count(split::validation) ==
        static_cast<std::int64_t>(text.size()));
  CHECK(text_of(*data, split::validation) == text.substr(static_cast<std::size_t>(data->token_count(split::train))));

  int calls = 0;
  const auto again = open_dataset(settings, 16, [&](double) { ++calls; });
  CHECK(calls == 0);
  CHECK(again->fingerprint() == data->fingerprint());
  CHECK(again->tokens()->serialize() == data->tokens()->serialize());
}

TEST_CASE("a folder is read in the order of paths, with documents kept apart") {
  const temporary_folder folder;
  folder.write("in/b/one.txt", "second");
  folder.write("in/a.txt", "first");
  folder.write("in/c.txt", "third");
  folder.write("in/.hidden/d.txt", "hidden");
  folder.write("in/empty.txt", "");
  folder.write("in/binary.txt", std::string_view("a\0b", 3));
  folder.write("in/latin1.txt", "caf\xE9");
  folder.write("in/large.txt", std::string(2000, 'x'));
  folder.write("in/z.md", "other");
  folder.write("in/other.cpp", "");
  std::filesystem::create_directory_symlink(folder / "in", folder / "in/loop");
  std::filesystem::create_symlink("nowhere", folder / "in/dangling.txt");

  auto settings = settings_for(folder / "in", folder);
  settings.glob = "*.md, *.txt";
  settings.file_bytes_max = 1000;
  settings.validation_fraction = 0;
  const auto data = open_dataset(settings, 4);
  CHECK(text_of(*data, split::train) == "first\nsecond\nthird\nother");
  CHECK(contains(data->summary(), "4 files, 21 bytes of text; left out 2 that are no UTF-8 text, 1 that are too large"));

  settings.glob = "*.md";
  CHECK(text_of(*open_dataset(settings, 1), split::train) == "other");

  settings.glob = "a.txt, c.txt";
  settings.tokens.algorithm = tokenizer_settings::kind::bytes;
  const std::string joined = "first|third";
  std::vector<std::int32_t> expected(joined.begin(), joined.end());
  expected[5] = 256;
  CHECK(tokens_of(*open_dataset(settings, 4), split::train) == expected);

  settings.glob = "*.cpp";
  CHECK(contains(message_of([&] { open_dataset(settings, 4); }), "no text in this folder"));
}
