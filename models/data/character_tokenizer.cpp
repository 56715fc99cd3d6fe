#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "models/data/tokenizer.hpp"
#include "models/data/utf8.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

class character_tokenizer final : public tokenizer {
 public:
  explicit character_tokenizer(std::vector<char32_t> alphabet) : alphabet_(std::move(alphabet)) {
    for (std::size_t c = 0; c < ascii_.size(); ++c)
      ascii_[c] = search(static_cast<char32_t>(c));
  }

  std::string kind() const override { return "characters"; }
  std::int64_t size() const noexcept override { return static_cast<std::int64_t>(alphabet_.size()); }
  std::int32_t end_of_document() const noexcept override { return -1; }

  std::string serialize() const override {
    std::string out;
    for (const char32_t c : alphabet_)
      utf8::append(out, c);
    return out;
  }

  std::vector<std::int32_t> encode(std::string_view text) const override {
    std::vector<std::int32_t> tokens;
    tokens.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
      const auto c = utf8::decode(text, at);
      if (!c)
        require_utf8(text);
      const std::int32_t token = c->value < ascii_.size() ? ascii_[c->value] : search(c->value);
      if (token < 0)
        throw text_error(text, at, fmt::format("found the character {}, expected one of the {} that the tokenizer knows",
                                               utf8::describe(c->value), size()));
      tokens.push_back(token);
      at += c->size_bytes;
    }
    return tokens;
  }

  std::string decode(const std::vector<std::int32_t>& tokens) const override {
    std::string out;
    for (const std::int32_t token : tokens)
      utf8::append(out, token >= 0 && token < size() ? alphabet_[static_cast<std::size_t>(token)] : utf8::replacement);
    return out;
  }

 private:
  std::int32_t search(char32_t c) const noexcept {
    const auto found = std::lower_bound(alphabet_.begin(), alphabet_.end(), c);
    return found == alphabet_.end() || *found != c ? -1 : static_cast<std::int32_t>(found - alphabet_.begin());
  }

  std::vector<char32_t> alphabet_;  // ascending
  std::array<std::int32_t, 128> ascii_;
};

}  // namespace

std::shared_ptr<const tokenizer> make_character_tokenizer(std::string_view alphabet) {
  std::vector<char32_t> code_points;
  for (std::size_t at = 0; at < alphabet.size();) {
    const auto c = utf8::decode(alphabet, at);
    if (!c)
      throw input_error(fmt::format("the tokenizer's alphabet is not UTF-8 from its byte {} on", at));
    code_points.push_back(c->value);
    at += c->size_bytes;
  }
  if (code_points.empty())
    throw input_error("a tokenizer of characters needs at least one character, but its alphabet is empty");
  std::sort(code_points.begin(), code_points.end());
  code_points.erase(std::unique(code_points.begin(), code_points.end()), code_points.end());
  return std::make_shared<character_tokenizer>(std::move(code_points));
}

}  // namespace troupe
