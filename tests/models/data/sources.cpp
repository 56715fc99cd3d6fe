#include <sys/fsuid.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "models/data/dataset.hpp"
#include "models/data/sentencepiece_tokenizer.hpp"
#include "models/data/tokenizer.hpp"
#include "tests/models/data/expect_error.hpp"
#include "tests/models/data/reading.hpp"

using namespace troupe;

namespace {

using kind = tokenizer_settings::kind;

/// Little-endian tokens, as they stand in shards.
template <class T>
std::string packed(const std::vector<T>& tokens) {
  return {reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(T)};
}

/// The header of llm.c's shards.
std::string header(std::int32_t magic, std::int32_t version, std::int32_t count) {
  std::vector<std::int32_t> fields(256);
  fields[0] = magic;
  fields[1] = version;
  fields[2] = count;
  return packed(fields);
}

std::string refused(const data_settings& settings, std::int64_t context = 2) {
  return message_of([&] { open_dataset(settings, context); });
}

}  // namespace

TEST_CASE("a text file: tokenised once, then read from the cache") {
  const corpus_folder folder;
  std::string text;
  for (int i = 0; i < 300'000; ++i)
    text += "line " + std::to_string(i) + "\n";
  const auto settings = settings_for(folder.write("corpus.txt", text), folder);

  double last = 0;
  int calls = 0;
  const auto data = open_dataset(settings, 16, [&](double done) {
    CHECK(done >= last);
    last = done;
    ++calls;
  });
  CHECK(last == 1.0);
  CHECK(calls > 1);
  CHECK(data->vocabulary() == 16);  // digits, space, newline, e i l n
  CHECK(text_of(*data, split::train) + text_of(*data, split::validation) == text);
  CHECK(data->token_count(split::validation) == doctest::Approx(0.1 * static_cast<double>(text.size())).epsilon(0.001));

  calls = 0;
  const auto again = open_dataset(settings, 16, [&](double) { ++calls; });
  CHECK(calls == 0);
  CHECK(again->fingerprint() == data->fingerprint());
  CHECK(again->tokens()->serialize() == data->tokens()->serialize());
}

TEST_CASE("every tokenizer reads a file whole, however it is cut into chunks") {
  const corpus_folder folder;
  std::string text;
  while (text.size() < 300'000) {  // chunks of lines, of a long line, and of characters of several bytes
    const std::size_t run = text.size() < 150'000 ? 90'001 : 50;
    text += text.size() % 7 == 0 ? "short line\n" : std::string(run, 'x') + "\xC3\xA9\xE2\x82\xAC ";
  }
  auto settings = settings_for(folder.write("corpus.txt", text), folder);
  settings.validation_fraction = 0;
  settings.tokens.vocabulary = 280;
  for (const kind algorithm : {kind::bytes, kind::characters, kind::sentencepiece}) {
    settings.tokens.algorithm = algorithm;
    CHECK(text_of(*open_dataset(settings, 4), split::train) == text);
  }
}

TEST_CASE("a sentencepiece model: trained on the corpus, or loaded from a file") {
  const corpus_folder folder;
  std::string text;
  for (int i = 0; i < 500; ++i)
    text += "one fish two fish " + std::to_string(i) + "\n";
  auto settings = settings_for(folder.write("corpus.txt", text), folder);
  settings.tokens = {kind::sentencepiece, "", 280};
  const auto trained = open_dataset(settings, 4);
  CHECK(trained->vocabulary() == 280);

  settings.tokens.model = folder.write("tokens.model", trained->tokens()->serialize());
  const auto loaded = open_dataset(settings, 4);
  CHECK(loaded->tokens()->serialize() == trained->tokens()->serialize());
  CHECK(tokens_of(*loaded, split::train) == tokens_of(*trained, split::train));

  folder.write("tokens.model", train_sentencepiece(text, 290)->serialize());
  CHECK(open_dataset(settings, 4)->vocabulary() == 290);  // the cache goes by the model's contents
  settings.tokens.model = folder / "missing.model";
  CHECK(contains(refused(settings), "missing.model"));
}

TEST_CASE("a sentencepiece model of a large corpus is trained on excerpts from all over it") {
  const corpus_folder folder;
  std::string text;
  while (text.size() < 6'000'000)
    text += text.size() < 3'000'000 ? "bilabial fricative\n" : "quokka hummock\n";
  auto settings = settings_for(folder.write("corpus.txt", text), folder);
  settings.tokens = {kind::sentencepiece, "", 300};
  const auto tokens = open_dataset(settings, 4)->tokens();
  for (const std::string words : {"bilabial fricative", "quokka hummock"})
    CHECK(tokens->encode(words).size() < words.size() / 2);
}

TEST_CASE("a folder is read in the order of paths, with documents kept apart") {
  const corpus_folder folder;
  folder.write("in/b/one.txt", "second");
  folder.write("in/a.txt", "first");
  folder.write("in/c.txt", "third");
  folder.write("in/z.md", "other");
  folder.write("in/.hidden/d.txt", "hidden");
  folder.write("in/.e.txt", "hidden");
  folder.write("in/empty.txt", "");
  folder.write("in/binary.txt", std::string_view("a\0b", 3));
  folder.write("in/latin1.txt", "caf\xE9");
  folder.write("in/large.txt", std::string(2000, 'x'));
  folder.write("in/other.cpp", "");
  std::filesystem::create_directory_symlink(folder / "in", folder / "in/loop");
  std::filesystem::create_symlink("nowhere", folder / "in/dangling.txt");

  auto settings = settings_for(folder / "in", folder);
  settings.glob = "*.md, *.txt";
  settings.file_bytes_max = 1000;
  settings.validation_fraction = 0;
  const auto data = open_dataset(settings, 4);
  CHECK(text_of(*data, split::train) == "first\nsecond\nthird\nother");
  CHECK(contains(data->summary(), "4 files, 21 bytes of text; left out: 2 no UTF-8 text, 1 too large, 1 by name"));

  settings.glob = "*.md";
  CHECK(text_of(*open_dataset(settings, 1), split::train) == "other");

  settings.glob = "a.txt,c.txt";
  settings.tokens.algorithm = kind::bytes;
  const std::string joined = "first|third";
  std::vector<std::int32_t> expected(joined.begin(), joined.end());
  expected[5] = 256;
  CHECK(tokens_of(*open_dataset(settings, 4), split::train) == expected);

  settings.glob = "*.cpp";
  CHECK(contains(refused(settings), "no text in this folder"));
}

TEST_CASE("a file of a folder that cannot be read is left out with a warning, unless there is no other") {
  const corpus_folder folder;
  folder.write("in/a.txt", "first");
  std::filesystem::permissions(folder.write("in/b.txt", "secret"), std::filesystem::perms::none);
  std::filesystem::permissions(folder.write("in/c.txt", "secret"), std::filesystem::perms::none);
  folder.write("cache/.keep", "");
  for (const auto* each : {"", "in", "cache"})
    std::filesystem::permissions(folder / each, std::filesystem::perms::all);
  auto settings = settings_for(folder / "in", folder);
  settings.validation_fraction = 0;
  setfsuid(65534);  // root may read everything
  const auto data = open_dataset(settings, 2);
  settings.glob = "b.txt";
  const auto nothing = refused(settings);
  setfsuid(geteuid());
  CHECK(text_of(*data, split::train) == "first");
  CHECK(contains(data->warning(), "2 files are left out that cannot be read, the first: " + folder / "in/b.txt"));
  CHECK(contains(nothing, "no text in this folder"));
  CHECK(contains(nothing, "1 that cannot be read, such as " + folder / "in/b.txt"));
}

TEST_CASE("an unknown character is named with its file and its place there, however far it is into it") {
  const corpus_folder folder;
  std::string text;
  for (int line = 1; line <= 30'000; ++line)
    text += line == 20'000 ? "abé\n" : "abc\n";
  auto settings = settings_for(folder.write("t.txt", text), folder);
  CHECK(contains(message_of([&] { open_dataset(settings, 2, {}, make_character_tokenizer("abc\n")); }),
                 "t.txt:20000:3: found the character 'é' (U+00E9), expected one of the 4 that the tokenizer knows\nhelp: take "
                 "it out of the text, or start a new run"));
  settings.path = folder / "in";
  folder.write("in/a.txt", "abc");
  folder.write("in/b.txt", "abc\nüb");
  CHECK(contains(message_of([&] { open_dataset(settings, 2, {}, make_character_tokenizer("abc\n")); }),
                 "in/b.txt:2:1: found the character 'ü' (U+00FC)"));
}

TEST_CASE("JSON lines: the named field of each") {
  const corpus_folder folder;
  auto settings = settings_for(
    folder.write("corpus.jsonl", "{\"id\": [1, {\"body\": 7}], \"body\": \"one\\nline\"}\r\n"
                                 "\n"
                                 "{\"body\": \"\", \"x\": {\"body\": \"nested\"}}\n"
                                 "{\"body\": \"caf\\u00e9\"}"),
    folder);
  settings.field = "body";
  settings.validation_fraction = 0;
  CHECK(text_of(*open_dataset(settings, 4), split::train) == "one\nline\ncaf\xC3\xA9");
  settings.field = "text";
  CHECK(contains(refused(settings), "corpus.jsonl:1:1: no field 'text' in the object, which has 'id', 'body'\nhelp: set data.field "));

  folder.write("many/b.jsonl", "{\"text\": \"second\"}");
  folder.write("many/a.jsonl", "{\"text\": \"first\"}\n");
  folder.write("many/notes.txt", "not this");
  for (const char* path : {"many", "many/*.jsonl", "many/?.jsonl"}) {
    settings.path = folder / path;
    settings.source = path == std::string("many") ? data_settings::source_kind::json_lines
                                                  : data_settings::source_kind::automatic;
    CHECK(text_of(*open_dataset(settings, 4), split::train) == "first\nsecond");
  }
  settings.path = folder / "none/*.jsonl";
  CHECK(contains(refused(settings), "no files of JSON lines"));
}

TEST_CASE("JSON lines: malformed ones are named") {
  const corpus_folder folder;
  const auto message = [&](const std::string& line) {
    return refused(settings_for(folder.write("bad.ndjson", "{\"text\": \"fine\"}\n" + line + "\n"), folder));
  };
  CHECK(contains(message("{\"text\": \"cut"), "bad.ndjson:2:14: malformed JSON"));
  CHECK(contains(message("{\"text\": \"a\"} b"), "bad.ndjson:2:15: malformed JSON"));
  CHECK(contains(message("{\"text\": \"\xFF\"}"), "bad.ndjson:2:11: found the byte 0xFF, expected UTF-8\nhelp: "));
  CHECK(contains(message("[1]"), "bad.ndjson:2:1: expected a JSON object, found an array"));
  CHECK(contains(message(" \"text\""), "bad.ndjson:2:2: expected a JSON object, found a string"));
  CHECK(contains(message("{\"text\": 5}"), "bad.ndjson:2:10: expected a string in field 'text', found a number"));
  CHECK(contains(message("{\"text\": \"a\", \"text\": null}"), "bad.ndjson:2:23: expected a string in field 'text', found null"));
  CHECK(contains(message("{\"é\": \"ü\", \"text\" : [1]}"), "bad.ndjson:2:21: expected a string in field 'text', found an array"));
  CHECK(contains(message("{\"é\": \"ü\" \"text\"}"), "bad.ndjson:2:16: malformed JSON"));
}

TEST_CASE("JSON lines: an unknown character is named with its place in the file, not in the text that it holds") {
  const corpus_folder folder;
  const auto refusal = [&](const std::string& line) {
    const auto settings = settings_for(folder.write("lines.jsonl", "{\"text\": \"abc\"}\n" + line + "\n"), folder);
    return message_of([&] { open_dataset(settings, 2, {}, make_character_tokenizer("abcü\n\"é\U0001F3AD")); });
  };
  CHECK(contains(refusal("{\"text\": \"abd\"}"), "lines.jsonl:2:13: found the character 'd'"));
  CHECK(contains(refusal("{\"ü\": 1, \"text\":\"abüd\"}"), "lines.jsonl:2:21: found the character 'd'"));
  CHECK(contains(refusal("{\"text\": \"\\n\\\"\\u00e9\\ud83c\\udfadüx\"}"), "lines.jsonl:2:34: found the character 'x'"));
  CHECK(contains(refusal("{\"text\": \"ab\\u0064\", \"other\": 1}"), "lines.jsonl:2:13: found the character 'd'"));
}

TEST_CASE("token shards of llm.c, in order of their names, with their validation split") {
  const corpus_folder folder;
  folder.write("shards/fineweb_train_000002.bin", header(20240520, 1, 3) + packed<std::uint16_t>({40, 50, 60}));
  folder.write("shards/fineweb_train_000001.bin", header(20240520, 1, 3) + packed<std::uint16_t>({10, 20, 30}));
  folder.write("shards/fineweb_val_000000.bin", header(20240520, 1, 4) + packed<std::uint16_t>({1, 2, 50256, 4}));
  for (const char* path : {"shards", "shards/*.bin", "shards/fineweb_*.bin"}) {
    const auto data = open_dataset(settings_for(folder / path, folder), 2);
    CHECK(data->tokens() == nullptr);
    CHECK(data->vocabulary() == 50257);
    CHECK(tokens_of(*data, split::train) == std::vector<std::int32_t>{10, 20, 30, 40, 50, 60});
    CHECK(tokens_of(*data, split::validation) == std::vector<std::int32_t>{1, 2, 50256, 4});
  }
  CHECK_FALSE(std::filesystem::exists(folder / "cache"));
}

TEST_CASE("token shards for Llama 3 have 32 bits; a single file is split by the fraction") {
  const corpus_folder folder;
  auto settings = settings_for(
    folder.write("one.bin", header(20240801, 7, 6) + packed<std::uint32_t>({128000, 1, 2, 3, 4, 5})), folder);
  settings.validation_fraction = 0.5;
  const auto data = open_dataset(settings, 2);
  CHECK(data->vocabulary() == 128001);
  CHECK(tokens_of(*data, split::train) == std::vector<std::int32_t>{128000, 1, 2});
  CHECK(tokens_of(*data, split::validation) == std::vector<std::int32_t>{3, 4, 5});
}

TEST_CASE("token shards of nanoGPT have no header") {
  const corpus_folder folder;
  folder.write("set/train.bin", packed<std::uint16_t>({1, 2, 3, 65535}));
  folder.write("set/val.bin", packed<std::uint16_t>({4, 5, 6}));
  const auto data = open_dataset(settings_for(folder / "set", folder), 2);
  CHECK(data->vocabulary() == 65536);
  CHECK(tokens_of(*data, split::train) == std::vector<std::int32_t>{1, 2, 3, 65535});
  CHECK(tokens_of(*data, split::validation) == std::vector<std::int32_t>{4, 5, 6});
  CHECK(data->fingerprint() == open_dataset(settings_for(folder / "set", folder), 2)->fingerprint());
  folder.write("set/train.bin", packed<std::uint16_t>({1, 2, 4, 65535}));
  CHECK(data->fingerprint() != open_dataset(settings_for(folder / "set", folder), 2)->fingerprint());
}

TEST_CASE("token shards may name the sentencepiece model they were made with") {
  const corpus_folder folder;
  std::string text;
  for (int i = 0; i < 200; ++i)
    text += "words and words\n";
  auto settings = settings_for(folder.write("train.bin", packed<std::uint16_t>({260, 261, 262, 263})), folder);
  settings.tokens = {kind::sentencepiece, folder.write("m.model", train_sentencepiece(text, 270)->serialize()), 0};
  settings.validation_fraction = 0;
  CHECK(open_dataset(settings, 2)->vocabulary() == 270);
  CHECK(text_of(*open_dataset(settings, 2), split::train).size() >= 4);
  folder.write("train.bin", packed<std::uint16_t>({260, 300}));
  CHECK(contains(refused(settings), "token 300 in the shards, but the tokenizer"));
}

TEST_CASE("token shards that are cut short or something else are refused") {
  const corpus_folder folder;
  const auto message = [&](const std::string& bytes) {
    return refused(settings_for(folder.write("bad.bin", bytes), folder));
  };
  CHECK(contains(message(header(20240520, 1, 4) + packed<std::uint16_t>({1, 2, 3})),
                 "bad.bin: the header promises 4 tokens of 2 bytes, but 6 bytes follow"));
  CHECK(contains(message(header(20240520, 1, -1)), "promises -1 tokens"));
  CHECK(contains(message(header(20240520, 2, 1) + packed<std::uint16_t>({1})), "version 2, expected 1"));
  CHECK(contains(message(header(20240801, 1, 1) + packed<std::uint32_t>({1})), "version 1, expected 7"));
  CHECK(contains(message(header(20240522, 1, 0)), "multiple-choice"));
  CHECK(contains(message("abc"), "3 bytes, expected tokens of 2 bytes each"));
  CHECK(contains(message(""), "the shard is empty"));
  CHECK(contains(message(header(20240801, 7, 3) + packed<std::uint32_t>({1, 2, 0xFFFFFFFF})),
                 "token 4294967295 in the shards"));
  folder.write("only/val.bin", packed<std::uint16_t>({1, 2, 3}));
  CHECK(contains(refused(settings_for(folder / "only/*.bin", folder)),
                 "no token shards to train on (1 for validation"));
  CHECK(contains(refused(settings_for(folder / "none*.bin", folder)), "no token shards to train on"));
}

TEST_CASE("what is missing, empty or too short says what to do") {
  const corpus_folder folder;
  CHECK(contains(refused(settings_for("", folder)), "data.path is not set"));
  CHECK(contains(refused(settings_for(folder / "nothing.txt", folder)), "nothing.txt"));
  CHECK(contains(refused(settings_for(folder.write("empty.txt", ""), folder)), "the file is empty"));
  CHECK(contains(refused(settings_for(folder.write("short.txt", "0123456789"), folder), 9),
                 "short.txt: 9 tokens to train on, but a context of 9 needs at least 10; give more text, a smaller "
                 "context, or a smaller data.validation_fraction"));
  CHECK(contains(refused(settings_for(folder.write("short.txt", std::string(100, 'x')), folder), 10),
                 "10 tokens to validate on, but a context of 10 needs at least 11"));
  CHECK(contains(refused(settings_for(folder / "short.txt", folder), 0), "the context is 0"));
  CHECK(contains(refused(settings_for(folder.write("latin1.txt", "text\nof caf\xE9"), folder)),
                 "latin1.txt:2:7: found the byte 0xE9, expected UTF-8\nhelp: convert the text, as `iconv` does, or set "
                 "data.tokenizer=\"bytes\""));
  auto settings = settings_for(folder.write("fine.txt", std::string(100, 'x')), folder);
  settings.validation_fraction = 1.5;
  CHECK(contains(refused(settings), "data.validation_fraction is 1.5, expected at least 0 and less than 1"));
  settings.validation_fraction = 0;
  CHECK(open_dataset(settings, 10)->token_count(split::validation) == 0);
  settings.source = data_settings::source_kind::folder;
  CHECK_THROWS(open_dataset(settings, 10));
}
