#include "models/data/token_cache.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <iterator>

#include "tests/models/data/expect_error.hpp"
#include "tests/models/data/reading.hpp"

using namespace troupe;

namespace {

std::string contents(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::filesystem::path> files_in(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    files.push_back(entry.path());
  return files;
}

std::string numbered_lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i)
    text += std::to_string(i * 7919) + "\n";
  return text;
}

}  // namespace

TEST_CASE("a cache gives back tokens and tokenizer, in 2 or 4 bytes a token") {
  const corpus_folder folder;
  std::string alphabet;
  for (char32_t c = 0x10000; c < 0x10000 + 70'000; ++c)
    alphabet += {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3F)),
                 static_cast<char>(0x80 | (c >> 6 & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
  for (const auto& tokens :
       {make_byte_tokenizer(), make_character_tokenizer("abc"), make_character_tokenizer(alphabet)}) {
    CAPTURE(tokens->size());
    const std::filesystem::path path = folder / ("deep/folder/" + std::to_string(tokens->size()));
    std::vector<std::int32_t> written{0, 1, 2, static_cast<std::int32_t>(tokens->size()) - 1, 1};
    token_cache_writer out(path, {3, 4}, *tokens);
    out.append(std::span(written).first(2));
    out.append(std::span(written).subspan(2));
    CHECK_FALSE(std::filesystem::exists(path));
    out.publish();

    const tokenized_corpus read = read_token_cache(path, {3, 4});
    std::vector<std::int32_t> back(written.size());
    REQUIRE(read.stream.size() == static_cast<std::int64_t>(written.size()));
    read.stream.read(0, back);
    CHECK(back == written);
    CHECK(read.stream.segments()[0].token_bytes == (tokens->size() > 65536 ? 4 : 2));
    CHECK(read.tokens->kind() == tokens->kind());
    CHECK(read.tokens->serialize() == tokens->serialize());
    CHECK(contains(message_of([&] { read_token_cache(path, {3, 5}); }), "the cache of another corpus"));
  }
}

TEST_CASE("a writer that does not publish leaves nothing behind") {
  const corpus_folder folder;
  {
    const token_cache_writer out(folder / "cache/x.tokens", {1, 1}, *make_byte_tokenizer());
  }
  CHECK(files_in(folder / "cache").empty());
}

TEST_CASE("a writer that is killed leaves nothing behind") {
  const corpus_folder folder;
  const auto writer = fork();
  if (writer == 0) {
    const token_cache_writer out(folder / "cache/x.tokens", {1, 1}, *make_byte_tokenizer());
    raise(SIGKILL);
  }
  int status = 0;
  REQUIRE(waitpid(writer, &status, 0) == writer);
  CHECK(WIFSIGNALED(status));
  CHECK(files_in(folder / "cache").empty());
}

TEST_CASE("any flipped bit and any cut of a cache is noticed") {
  const corpus_folder folder;
  const std::filesystem::path path = folder / "x.tokens";
  const auto tokens = make_character_tokenizer("abcdef");
  token_cache_writer out(path, {1, 2}, *tokens);
  out.append(tokens->encode("fedcbaabcdef"));
  out.publish();
  const std::string good = contents(path);
  for (std::size_t at = 0; at < good.size(); ++at) {
    CAPTURE(at);
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ (1 << (at % 8)));
    folder.write("x.tokens", bad);
    REQUIRE_THROWS_AS(read_token_cache(path, {1, 2}), input_error);
    folder.write("x.tokens", good.substr(0, at));
    REQUIRE_THROWS_AS(read_token_cache(path, {1, 2}), input_error);
  }
  folder.write("x.tokens", good);
  CHECK_NOTHROW(read_token_cache(path, {1, 2}));
}

TEST_CASE("a damaged cache is made again; another corpus has another") {
  const corpus_folder folder;
  auto settings = settings_for(folder.write("a.txt", numbered_lines(500)), folder);
  auto first = open_dataset(settings, 8);
  const auto fingerprint = first->fingerprint();
  const auto tokens = tokens_of(*first, split::train);
  first.reset();  // for it maps the file that is about to be damaged
  const auto files = files_in(folder / "cache");
  REQUIRE(files.size() == 1);
  const std::string good = contents(files[0]);

  std::string bad = good;
  bad[bad.size() / 2] = static_cast<char>(~bad[bad.size() / 2]);
  std::ofstream(files[0], std::ios::binary) << bad;
  int calls = 0;
  const auto second = open_dataset(settings, 8, [&](double) { ++calls; });
  CHECK(calls > 0);
  CHECK(contents(files[0]) == good);
  CHECK(tokens_of(*second, split::train) == tokens);

  // Elsewhere, but the same text: the same cache.
  calls = 0;
  open_dataset(settings_for(folder.write("elsewhere/b.txt", numbered_lines(500)), folder), 8, [&](double) { ++calls; });
  CHECK(calls == 0);
  CHECK(files_in(folder / "cache").size() == 1);

  folder.write("a.txt", numbered_lines(501));
  CHECK(open_dataset(settings, 8)->fingerprint() != fingerprint);
  settings.tokens.algorithm = tokenizer_settings::kind::bytes;
  CHECK(open_dataset(settings, 8)->vocabulary() == 257);
  CHECK(files_in(folder / "cache").size() == 3);
}

TEST_CASE("processes that tokenise the same corpus at once do no harm to each other") {
  const corpus_folder folder;
  const auto settings = settings_for(folder.write("a.txt", numbered_lines(20'000)), folder);
  constexpr int processes = 6;
  for (int i = 0; i < processes; ++i)
    if (fork() == 0) {
      bool good = false;
      try {
        good = open_dataset(settings, 8)->vocabulary() == 11;
      } catch (const std::exception&) {
        // reported by the exit status
      }
      _exit(good ? 0 : 1);
    }
  for (int i = 0; i < processes; ++i) {
    int status = -1;
    REQUIRE(wait(&status) > 0);
    CHECK(status == 0);
  }
  CHECK(files_in(folder / "cache").size() == 1);
  int calls = 0;
  open_dataset(settings, 8, [&](double) { ++calls; });
  CHECK(calls == 0);
}

TEST_CASE("a cache folder that cannot be written is a system error that names the setting") {
  const corpus_folder folder;
  auto settings = settings_for(folder.write("a.txt", numbered_lines(100)), folder);
  settings.cache = folder.write("file", "in the way");
  try {
    open_dataset(settings, 8);
    FAIL("expected a system_error");
  } catch (const system_error& error) {
    CHECK(contains(error.what(), "cannot make its folder: "));
    CHECK(contains(error.what(), "data.cache"));
  }
}
