#include "tests/models/byte_pairs.hpp"

#include <doctest/doctest.h>

#include "models/data/byte_pair_tokenizer.hpp"
#include "models/data/dataset.hpp"
#include "models/data/utf8.hpp"
#include "models/data/word_pattern.hpp"
#include "tests/models/data/expect_error.hpp"
#include "tests/models/data/reading.hpp"

using namespace troupe;

namespace {

using ids = std::vector<std::int32_t>;

std::shared_ptr<const tokenizer> loaded(const nlohmann::json& file) { return load_byte_pairs(file.dump()); }

std::string refusal(const nlohmann::json& file) {
  return message_of([&] { loaded(file); });
}

}  // namespace

TEST_CASE("byte pairs: merged by rank, within words as GPT-2 cuts them") {
  const auto tokens = loaded(some_byte_pairs());
  CHECK(tokens->kind() == "byte_pairs");
  CHECK(tokens->size() == 263);
  CHECK(tokens->end_of_document() == 262);
  CHECK(tokens->encode("").empty());
  CHECK(tokens->encode("the the") == ids{257, 258});
  CHECK(tokens->encode("thethe") == ids{257, 257});
  CHECK(tokens->encode("he's") == ids{256, '\'', 's'});
  CHECK(tokens->encode("ababab abab") == ids{261, 260, ' ', 261});
  CHECK(tokens->encode("   the") == ids{259, 258});      // the last space belongs to the word
  CHECK(tokens->encode("x   \n") == ids{'x', 259, ' ', '\n'});
  CHECK(tokens->encode("\xC3\xA9") == ids{0xC3, 0xA9});  // one word, whose bytes no merge joins
  CHECK(tokens->decode({258, 0xC3, 262, 0xA9, 0xC3, 999}) == " the\xC3\xA9\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(contains(message_of([&] { tokens->encode("ab\xFF"); }), "column 3 of the text: found the byte 0xFF, expected UTF-8"));
}

TEST_CASE("byte pairs: GPT-2's own file does not name the type of its model") {
  auto file = some_byte_pairs();
  file["model"].erase("type");
  CHECK(loaded(file)->encode("the the") == ids{257, 258});
  file["model"].erase("merges");
  CHECK(contains(refusal(file), "'model'"));
}

TEST_CASE("byte pairs: every text comes back, however long its words") {
  const auto tokens = loaded(some_byte_pairs());
  std::string all;
  for (char32_t c = 0; c < 0x3000; ++c)
    utf8::append(all, c);
  for (const auto& text : {all, std::string(200'000, 'a'), std::string(100'000, ' ') + "x\r\n\t\n  end "}) {
    const auto found = tokens->encode(text);
    CHECK(tokens->decode(found) == text);
    CHECK(std::ranges::all_of(found, [&](auto id) { return id >= 0 && id < tokens->size(); }));
  }
  const std::string pairs = "abababab";
  std::string many;
  for (int i = 0; i < 10'000; ++i)
    many += pairs;
  CHECK(tokens->encode(many).size() == 20'000);
}

TEST_CASE("byte pairs: Llama 3's form, with a pattern of its own and whole words before merges") {
  auto file = some_byte_pairs();
  file["pre_tokenizer"] = nlohmann::json::parse(R"({"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "[a-z]+|\\p{N}{1,3}"}, "behavior": "Isolated", "invert": false},
    {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]})");
  file["model"]["vocab"]["xyz"] = 263;
  const auto cut = loaded(file);
  CHECK(cut->encode("the  xyz1234") == ids{257, 259, 'x', 'y', 'z', '1', '2', '3', '4'});
  file["model"]["ignore_merges"] = true;
  CHECK(loaded(file)->encode("xyzxyz xyz") == ids{'x', 'y', 'z', 'x', 'y', 'z', ' ', 263});
  CHECK(word_pattern("[a-z]+|\\p{N}{1,3}").words("ab, 1234") ==
        std::vector<std::string_view>{"ab", ", ", "123", "4"});
  for (const auto& tokens : {cut, loaded(file)})
    CHECK(deserialize_tokenizer("byte_pairs", tokens->serialize())->serialize() == tokens->serialize());
}

TEST_CASE("byte pairs: what a tokenizer.json says wrong is named") {
  CHECK(contains(message_of([] { load_byte_pairs("{"); }), "tokenizer.json"));
  const auto with = [](auto change) {
    auto file = some_byte_pairs();
    change(file);
    return refusal(file);
  };
  CHECK(contains(with([](auto& f) { f["normalizer"] = {{"type", "NFC"}}; }), "'normalizer' is {\"type\":\"NFC\"}"));
  CHECK(contains(with([](auto& f) { f["model"]["type"] = "Unigram"; }), "'model'"));
  CHECK(contains(with([](auto& f) { f["pre_tokenizer"]["add_prefix_space"] = true; }), "'pre_tokenizer'"));
  CHECK(contains(with([](auto& f) { f["added_tokens"][0]["special"] = false; }), "'added_tokens'"));
  CHECK(contains(with([](auto& f) { f["model"]["vocab"]["ab"] = 7; }), "numbered from 0 to 262"));
  CHECK(contains(with([](auto& f) { f["model"]["vocab"]["ab"] = 1u << 30; }), "numbered from 0 to 262"));
  CHECK(contains(with([](auto& f) { f["model"]["vocab"].erase("a"); f["model"]["vocab"]["aa"] = int('a'); }), "piece 'a'"));
  CHECK(contains(with([](auto& f) { f["model"]["vocab"]["a b"] = 263; }), "'a b' holds what stands for no byte"));
  CHECK(contains(with([](auto& f) { f["model"]["merges"].push_back("a b"); }), "merge 6: comes twice"));
  CHECK(contains(with([](auto& f) { f["model"]["merges"].push_back("a c"); }), "merge 6: there is no piece 'ac'"));
  CHECK(contains(with([](auto& f) { f["model"]["merges"][2] = "a"; }), "merge 2: expected two pieces"));
  CHECK(contains(message_of([] { word_pattern("(a"); }), "wrong at byte 2"));
  CHECK(contains(message_of([] { word_pattern("(a+)+$").words(std::string(60, 'a') + "b"); }), "cannot be matched"));
}

TEST_CASE("byte pairs: a corpus and token shards are read with a tokenizer.json") {
  const corpus_folder folder;
  std::string text;
  while (text.size() < 200'000)  // more than one chunk
    text += "  the abab\n\n\n   the the;\r\n" + std::string(text.size() % 11, ' ') + "ab\r\n";
  auto settings = settings_for(folder.write("corpus.txt", text), folder);
  settings.validation_fraction = 0;
  settings.tokens = {tokenizer_settings::kind::byte_pairs, folder.write("tokenizer.json", some_byte_pairs().dump()), 0};
  const auto data = open_dataset(settings, 4);
  CHECK(tokens_of(*data, split::train) == data->tokens()->encode(text));  // cutting into chunks changed no token
  settings.tokens.model.clear();
  CHECK(contains(message_of([&] { open_dataset(settings, 4); }), "data.tokenizer_model is not set"));
}
