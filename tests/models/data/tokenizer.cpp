#include "models/data/tokenizer.hpp"

#include <doctest/doctest.h>

#include <numeric>
#include <string>
#include <vector>

#include "models/data/sentencepiece_tokenizer.hpp"
#include "models/data/utf8.hpp"
#include "tests/models/data/expect_error.hpp"

using namespace troupe;

namespace {

const std::string masks = "\xF0\x9F\x8E\xAD";  // U+1F3AD
const std::string mixed = "na\xC3\xAFve \xE2\x82\xAC 5\n\t" + masks;

std::string some_text() {
  std::string text;
  for (int i = 0; i < 400; ++i)
    text += "the cat sat on mat " + std::to_string(i) + (i % 3 ? " and the dog\n" : " near  the house\n\n");
  return text;
}

void check_round_trip(const tokenizer& tokens, const std::string& text) {
  const auto ids = tokens.encode(text);
  for (const std::int32_t id : ids) {
    REQUIRE(id >= 0);
    REQUIRE(id < tokens.size());
  }
  CHECK(tokens.decode(ids) == text);
}

/// The same tokenizer from its serialized form.
std::shared_ptr<const tokenizer> copy(const tokenizer& tokens) {
  return deserialize_tokenizer(tokens.kind(), tokens.serialize());
}

}  // namespace

TEST_CASE("UTF-8: what is valid, and what is not") {
  for (const std::string valid : {"a", "\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                                  "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    CAPTURE(valid);
    const auto c = utf8::decode(valid, 0);
    REQUIRE(c);
    CHECK(c->size_bytes == valid.size());
    std::string again;
    utf8::append(again, c->value);
    CHECK(again == valid);
  }
  for (const std::string invalid : {"\x80", "\xC1\xBF", "\xC2", "\xC2z", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xE2\x82",
                                    "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    CHECK_FALSE(utf8::decode(invalid, 0));
    CHECK(utf8::first_invalid("0123456789" + invalid) == 10);
  }
  CHECK(utf8::first_invalid(mixed) == mixed.size());
  CHECK(utf8::repaired("a\xFF\xC3z") == "a\xEF\xBF\xBD\xEF\xBF\xBDz");
}

TEST_CASE("bytes represent everything") {
  const auto tokens = make_byte_tokenizer();
  CHECK(tokens->size() == 257);
  CHECK(tokens->end_of_document() == 256);
  check_round_trip(*tokens, mixed);
  std::string all(256, '\0');
  std::iota(all.begin(), all.end(), '\0');
  const auto ids = tokens->encode(all);
  for (std::int32_t i = 0; i < 256; ++i)
    CHECK(ids[static_cast<std::size_t>(i)] == i);
  CHECK(tokens->decode({'a', 256, 'b', 300, -1, 0xE2, 0x82}) == "ab\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(copy(*tokens)->kind() == "bytes");
}

TEST_CASE("characters are numbered in the order of their code points") {
  const auto tokens = make_character_tokenizer("ba\nab" + masks + "\xC3\xA9");
  CHECK(tokens->size() == 5);
  CHECK(tokens->end_of_document() == -1);
  CHECK(tokens->encode("\nab\xC3\xA9" + masks) == std::vector<std::int32_t>{0, 1, 2, 3, 4});
  CHECK(tokens->serialize() == "\nab\xC3\xA9" + masks);
  check_round_trip(*tokens, "abba\n" + masks);
  CHECK(copy(*tokens)->serialize() == tokens->serialize());
  CHECK(tokens->decode({1, 5, -7}) == "a\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST_CASE("an unknown character is named with its place") {
  const auto tokens = make_character_tokenizer("ab\n");
  CHECK(message_of([&] { tokens->encode("ab\nb\xC3\xA9"); }) ==
        "line 2, column 2 of the text: found the character '\xC3\xA9' (U+00E9), expected one of the 3 that the tokenizer knows");
  CHECK(contains(message_of([&] { tokens->encode(std::string_view("a\0", 2)); }), "column 2 of the text: found the character U+0000"));
  CHECK(contains(message_of([&] { tokens->encode("a\xFF"); }), "line 1, column 2 of the text: found the byte 0xFF, expected UTF-8"));
}

TEST_CASE("sentencepiece: a trained model is lossless, small and the same every time") {
  const std::string text = some_text();
  const auto tokens = train_sentencepiece(text, 300);
  CHECK(tokens->size() == 300);
  CHECK(tokens->end_of_document() >= 0);
  check_round_trip(*tokens, text);
  check_round_trip(*tokens, mixed);
  check_round_trip(*tokens, "  spaces  at both ends and within  ");
  check_round_trip(*tokens, "");
  CHECK(tokens->encode(text).size() < text.size() / 2);
  CHECK(tokens->decode({tokens->end_of_document()}).empty());
  CHECK(contains(tokens->decode({-1, 1000}), "\xEF\xBF\xBD\xEF\xBF\xBD"));

  CHECK(train_sentencepiece(text, 300)->serialize() == tokens->serialize());
  CHECK(copy(*tokens)->serialize() == tokens->serialize());
  CHECK(copy(*tokens)->encode(text) == tokens->encode(text));
}

TEST_CASE("sentencepiece: lines longer than the trainer takes are still learned from") {
  std::string text;
  while (text.size() < 50'000)
    text += "every \xC3\xA9tude ";
  const auto tokens = train_sentencepiece(text, 275);
  CHECK(tokens->encode(" \xC3\xA9tude").size() <= 3);
  check_round_trip(*tokens, text);
}

TEST_CASE("sentencepiece: what cannot be trained or loaded is an error") {
  CHECK(contains(message_of([] { train_sentencepiece("a b c", 10'000); }), "Vocabulary size too high (10000)"));
  CHECK(contains(message_of([] { train_sentencepiece(some_text(), 100); }), "data.tokenizer_vocabulary = 100 is too small"));
  CHECK(contains(message_of([] { train_sentencepiece("\n\n", 300); }), "no text"));
  CHECK(contains(message_of([] { train_sentencepiece("abc\xFF", 300); }), "column 4 of the text: found the byte 0xFF, expected UTF-8"));
  CHECK(contains(message_of([] { load_sentencepiece("not a model"); }), "no sentencepiece model"));
  CHECK(contains(message_of([] { load_sentencepiece(""); }), "no sentencepiece model"));
  const std::string model = train_sentencepiece(some_text(), 300)->serialize();
  CHECK(contains(message_of([&] { load_sentencepiece(model.substr(0, model.size() / 2)); }), "no sentencepiece model"));
  CHECK(contains(message_of([] { load_sentencepiece_file("/nonexistent.model"); }), "/nonexistent.model"));
}

TEST_CASE("serialized tokenizers of no known kind are refused") {
  CHECK(contains(message_of([] { deserialize_tokenizer("words", ""); }), "unknown kind of tokenizer 'words'"));
  CHECK(contains(message_of([] { deserialize_tokenizer("bytes", "x"); }), "no contents"));
  CHECK(contains(message_of([] { deserialize_tokenizer("characters", ""); }), "at least one character"));
  CHECK(contains(message_of([] { deserialize_tokenizer("characters", "a\xFF"); }), "not UTF-8"));
}
