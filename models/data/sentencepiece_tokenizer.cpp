#include "models/data/sentencepiece_tokenizer.hpp"

#include <fmt/format.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cstdio>

#include "models/data/sentencepiece_check.hpp"
#include "models/data/utf8.hpp"
#include "runtime/checkpoint/mapped_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

class sentencepiece_tokenizer final : public tokenizer {
 public:
  explicit sentencepiece_tokenizer(std::string_view model) : model_(model) {
    check_sentencepiece_model(model_);
    if (const auto status = processor_.LoadFromSerializedProto(model_); !status.ok())
      throw input_error(fmt::format("this is no sentencepiece model: {}", status.error_message()));
  }

  std::string kind() const override { return "sentencepiece"; }
  std::int64_t size() const noexcept override { return processor_.GetPieceSize(); }
  std::int32_t end_of_document() const noexcept override { return processor_.eos_id(); }
  std::string serialize() const override { return model_; }

  std::vector<std::int32_t> encode(std::string_view text) const override {
    require_utf8(text);
    std::vector<int> tokens;
    if (const auto status = processor_.Encode(text, &tokens); !status.ok())
      throw input_error(fmt::format("sentencepiece cannot encode the text: {}", status.error_message()));
    return tokens;
  }

  std::string decode(const std::vector<std::int32_t>& tokens) const override {
    std::string out;
    std::vector<int> known;
    const auto flush = [&] {
      std::string text;
      if (const auto status = processor_.Decode(known, &text); !status.ok())
        throw input_error(fmt::format("sentencepiece cannot decode the tokens: {}", status.error_message()));
      out += text;
      known.clear();
    };
    for (const std::int32_t token : tokens) {
      if (token >= 0 && token < size()) {
        known.push_back(token);
      } else {
        flush();
        utf8::append(out, utf8::replacement);
      }
    }
    flush();
    return out;
  }

 private:
  std::string model_;
  sentencepiece::SentencePieceProcessor processor_;
};

/// The lines of a text as the trainer wants them, cut to the length beyond which it skips them.
class sentences final : public sentencepiece::SentenceIterator {
 public:
  explicit sentences(std::string_view text) : rest_(text) { Next(); }

  bool done() const override { return done_; }
  const std::string& value() const override { return sentence_; }
  sentencepiece::util::Status status() const override { return {}; }

  void Next() override {
    rest_.remove_prefix(std::min(rest_.find_first_not_of('\n'), rest_.size()));
    done_ = rest_.empty();
    std::size_t size = std::min(rest_.find('\n'), rest_.size());
    if (size > size_max) {
      size = size_max;
      while ((rest_[size] & 0xC0) == 0x80)  // not inside a character
        --size;
    }
    sentence_ = rest_.substr(0, size);
    rest_.remove_prefix(size);
  }

  static constexpr std::size_t size_max = 4096;  // bytes

 private:
  std::string_view rest_;
  std::string sentence_;
  bool done_ = false;
};

}  // namespace

std::shared_ptr<const tokenizer> load_sentencepiece(std::string_view model) {
  return std::make_shared<sentencepiece_tokenizer>(model);
}

std::shared_ptr<const tokenizer> load_sentencepiece_file(const std::string& path) {
  const auto file = mapped_file::open(path);
  try {
    return load_sentencepiece(file->text());
  } catch (const input_error& failure) {
    throw input_error(fmt::format("{}: {}", path, failure.what()));
  }
}

std::shared_ptr<const tokenizer> train_sentencepiece(std::string_view text, std::int64_t vocabulary) {
  require_utf8(text);
  sentences input(text);
  if (input.done())
    throw input_error("cannot train a sentencepiece model: the corpus holds no text");
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(
    {
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(vocabulary)},
      {"byte_fallback", "true"},
      // Text comes back as it was: nothing normalised, nothing stripped, no space put in front.
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"add_dummy_prefix", "false"},
      {"allow_whitespace_only_pieces", "true"},
      {"split_digits", "true"},
      {"user_defined_symbols", "\n"},
      {"bos_id", "-1"},
      {"unk_id", "0"},
      {"eos_id", "1"},
      {"character_coverage", "0.9995"},
      {"max_sentence_length", std::to_string(sentences::size_max)},
      {"num_threads", "1"},
      {"minloglevel", "2"},
    },
    &input, &model);
  if (!status.ok()) {
    // The library puts its source line and the condition in brackets before the words.
    const std::string message = status.error_message();
    const std::size_t words = message.rfind("] ");
    int required = 0;
    if (const auto numbers = message.find("required_chars. ");
        numbers != std::string::npos && std::sscanf(message.c_str() + numbers, "required_chars. %*d vs %d", &required) == 1)
      throw input_error(fmt::format("data.tokenizer_vocabulary = {} is too small: bytes and the characters of this corpus "
                                    "take {} pieces\nhelp: set it to {} or more; what is beyond becomes longer pieces",
                                    vocabulary, required, required));
    throw input_error(fmt::format("cannot train a sentencepiece model of {} pieces on the corpus: {}", vocabulary,
                                  words == std::string::npos ? message : message.substr(words + 2)));
  }
  return load_sentencepiece(model);
}

}  // namespace troupe
