#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "tests/models/data/reading.hpp"

using namespace troupe;

TEST_CASE("tiny Shakespeare in characters has nanoGPT's vocabulary and splits") {
  const auto path = std::filesystem::path(TROUPE_SOURCE_DIR).parent_path() / "shared/data/tinyshakespeare.txt";
  if (!std::filesystem::exists(path)) {
    MESSAGE("skipped: no " << path.string());
    return;
  }
  const corpus_folder folder;
  const auto data = open_dataset(settings_for(path.string(), folder), 64);
  CHECK(data->vocabulary() == 65);
  CHECK(data->token_count(split::train) == 1'003'854);
  CHECK(data->token_count(split::validation) == 111'540);
  // nanoGPT's prepare.py numbers the sorted characters: newline 0, space 1, 'A' 13, 'a' 39, 'z' 64.
  CHECK(data->tokens()->encode("\n Aaz") == std::vector<std::int32_t>{0, 1, 13, 39, 64});
  CHECK(text_of(*data, split::train).starts_with("First Citizen:\nBefore we proceed"));
}

TEST_CASE("the C++ headers of this machine, as a folder of documents") {
  if (!std::filesystem::exists("/usr/include/c++")) {
    MESSAGE("skipped: no /usr/include/c++");
    return;
  }
  const corpus_folder folder;
  auto settings = settings_for("/usr/include/c++", folder);
  settings.tokens.algorithm = tokenizer_settings::kind::bytes;
  const auto data = open_dataset(settings, 256);
  INFO(data->summary());
  CHECK(data->token_count(split::train) > 1'000'000);
  const auto tokens = tokens_of(*data, split::train);
  CHECK(std::count(tokens.begin(), tokens.end(), 256) > 100);
}
